"""Runs the model's Python in bubblewrap's namespaces: CPython without network and with read-only files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from ossctl.app.tools.python.interpreter import SHARED, Limits, Unavailable
from ossctl.app.tools.python.process import ProcessInterpreter

_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # links into /usr, or older folders
_MORE = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/nix/store")
_USER = "1000"
_TRIAL_SECONDS = 10.0
_HINT = "Install bubblewrap 0.7 or later (Debian, Ubuntu, Fedora: the package bubblewrap)."
_NAMESPACES = (
    "Processes may not create user namespaces here, as in many containers and under Ubuntu's AppArmor."
)

# One thread per library: many interpreters run beside the engine.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 (inside the sandbox)
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}


class BubblewrapPlace:
    """A process in namespaces of its own per interpreter, on Linux. It runs ossctl's own Python.

    It sees the system's programs and libraries and the folders of that Python, all read-only, and a private
    /tmp. When ossctl ends, however it does, a pipe closes and the processes end; `--die-with-parent` would
    end them with the thread that started them.
    """

    title = "bubblewrap"
    missing = (
        "It is a real Python with the packages that are installed on this computer. "
        "Files can be written in /tmp only."
    )

    def __init__(self, program: str = "bwrap") -> None:
        self._program = shutil.which(program) or ""

    def check(self) -> None:
        """Run Python once. Raises Unavailable."""
        if sys.platform != "linux":
            raise Unavailable("bubblewrap needs Linux", "Try --python-in container.")
        if not self._program:
            raise Unavailable("bubblewrap is not installed", _HINT)
        try:
            trial = subprocess.run(  # noqa: S603 (a sandbox)
                [*self.arguments(Limits(1.0), None), *own_python(), "-c", ""],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TRIAL_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"bubblewrap does not work: {error}", _HINT) from None
        if trial.returncode != 0:
            said = (trial.stderr.decode("utf-8", "replace").strip() or "no reason given").splitlines()[-1]
            hint = _NAMESPACES if "ermission denied" in said or "not permitted" in said else _HINT
            raise Unavailable(f"bubblewrap does not work: {said.removeprefix('bwrap: ')}", hint)

    def start(self, limits: Limits, shared: Path | None) -> ProcessInterpreter:
        """Start Python in its namespaces."""
        argv = [*self.arguments(limits, shared), *own_python(), *child_arguments(limits)]
        return ProcessInterpreter(argv, ENVIRONMENT, limits)

    def close(self) -> None:
        """Nothing is shared by the interpreters."""

    def arguments(self, limits: Limits, shared: Path | None, files: Path | None = None) -> Iterator[str]:
        """The start of a command that runs a program in the sandbox. `files` is a folder to use as /tmp."""
        yield from (self._program, "--unshare-all", "--unshare-user", "--uid", _USER, "--gid", _USER)
        yield from ("--hostname", "python", "--as-pid-1", "--ro-bind", "/usr", "/usr")
        for name in _SYSTEM:
            if (folder := Path(name)).is_symlink():
                yield from ("--symlink", str(folder.readlink()), name)
            elif folder.is_dir():
                yield from ("--ro-bind", name, name)
        yield from ("--proc", "/proc", "--dev", "/dev")
        for name in ("/tmp", "/dev/shm"):  # noqa: S108 (inside the sandbox)
            kept = files is not None and name == "/tmp"  # noqa: S108
            yield from (
                ("--bind", str(files), name) if kept else ("--size", str(limits.files), "--tmpfs", name)
            )
        for name in (*_MORE, *_prefixes()):
            yield from ("--ro-bind-try", name, name)
        if shared is not None:
            yield from ("--ro-bind", str(shared), SHARED)
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp")  # noqa: S108


def child_arguments(limits: Limits) -> Sequence[str]:
    """The arguments with which Python runs child.py inside a sandbox, where that file is not."""
    program = files("ossctl.app.tools.python").joinpath("child.py").read_text("utf-8")
    return ("-c", program, str(limits.memory), str(limits.processes), str(limits.files))


def own_python() -> Sequence[str]:
    """The interpreter, which ignores the environment and the user's own packages."""
    if not _prefixes():
        return ("/usr/bin/python3", "-I")
    program, prefix = Path(sys.executable), Path(sys.prefix)
    if program.is_relative_to(prefix):  # which may be a link to the folder that is bound
        program = prefix.resolve() / program.relative_to(prefix)
    return (str(program), "-I")


def _prefixes() -> Sequence[str]:
    """The folders of the Python that runs ossctl; none if the user's home is inside them."""
    prefixes = [Path(each).resolve() for each in dict.fromkeys((sys.base_prefix, sys.prefix))]
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (never raises)
    if not sys.executable or any(home.is_relative_to(each) for each in prefixes):
        return ()
    return [str(each) for each in prefixes]
