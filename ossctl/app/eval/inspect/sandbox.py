"""A sandbox for Inspect's tasks where Docker is not: bubblewrap, as for the model's own Python.

Programs see the system and ossctl's Python, read-only, and a folder of their sample as /tmp. They have no
network.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from anyio.to_thread import run_sync
from inspect_ai.util import ExecResult, SandboxEnvironment, sandboxenv

from ossctl.app.tools.processes import kill_group
from ossctl.app.tools.python.bubblewrap import ENVIRONMENT, BubblewrapPlace, own_python
from ossctl.app.tools.python.interpreter import Limits, Unavailable

NAME = "ossctl"
_FOLDER = PurePosixPath("/tmp")  # noqa: S108 (inside the sandbox)
_SECONDS = 600.0
_MAX_OUTPUT = 10 << 20  # bytes, as Inspect's own sandboxes
_LIMITED = 'ulimit -v {kib}; ulimit -t {seconds}; cd "$0" && exec "$@"'


def problem() -> str:
    """Why bubblewrap cannot be used; "" if it can."""
    try:
        BubblewrapPlace().check()
    except Unavailable as error:
        return error.reason
    return ""


@sandboxenv(name=NAME)
class BubblewrapSandbox(SandboxEnvironment):
    """A folder of one sample, and processes that see nothing else of the user's files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    @classmethod
    async def sample_init(
        cls, task_name: str, config: Any, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        return {"default": cls(Path(tempfile.mkdtemp(prefix="ossctl-eval-")))}

    @classmethod
    async def sample_cleanup(
        cls, task_name: str, config: Any, environments: dict[str, SandboxEnvironment], interrupted: bool
    ) -> None:
        for each in environments.values():
            shutil.rmtree(each.as_type(BubblewrapSandbox).folder, ignore_errors=True)

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        given = input.encode() if isinstance(input, str) else input or b""
        return await run_sync(self._run, cmd, given, cwd, env or {}, timeout or _SECONDS)

    def _run(
        self, cmd: Sequence[str], given: bytes, cwd: str | None, env: dict[str, str], seconds: float
    ) -> ExecResult[str]:
        argv = [*self._sandboxed(cwd, env, seconds), *_found(cmd)]
        process = subprocess.Popen(  # noqa: S603 (a sandbox)
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the command took more than {seconds:g} s") from None
        finally:
            kill_group(process)
            process.communicate()
        texts = [part[-_MAX_OUTPUT:].decode("utf-8", "replace") for part in (out, err)]
        return ExecResult(process.returncode == 0, process.returncode, *texts)

    def _sandboxed(self, cwd: str | None, env: dict[str, str], seconds: float) -> Iterator[str]:
        limits = Limits(seconds)
        yield from BubblewrapPlace().arguments(limits, None, self.folder)
        yield "--die-with-parent"
        for name, value in env.items():
            yield from ("--setenv", name, value)
        limited = _LIMITED.format(kib=limits.memory >> 10, seconds=int(seconds) + 1)
        yield from ("/bin/sh", "-c", limited, str(_FOLDER / (cwd or "")))

    async def write_file(self, file: str, contents: str | bytes) -> None:
        path = self._inside(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)

    async def read_file(self, file: str, text: bool = True) -> Any:
        data = self._inside(file).read_bytes()
        return data.decode() if text else data

    def _inside(self, file: str) -> Path:
        """Where a file of the sandbox is here. Raises PermissionError for those outside of its folder."""
        given = _FOLDER / file
        path = self.folder / given.relative_to(_FOLDER) if given.is_relative_to(_FOLDER) else Path("/")
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise PermissionError(f"{file} is not in {_FOLDER}")
        return path


def _found(cmd: Sequence[str]) -> Sequence[str]:
    """The command; `python` is ossctl's own."""
    return [*own_python(), *cmd[1:]] if cmd[0] in ("python", "python3") else cmd
