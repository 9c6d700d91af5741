"""Runs the model's Python in containers of podman or docker, without network."""

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ossctl.app.tools.python.bubblewrap import ENVIRONMENT, child_arguments
from ossctl.app.tools.python.interpreter import SHARED, Limits, Unavailable
from ossctl.app.tools.python.process import ProcessInterpreter

IMAGE = "docker.io/library/python:3.13-slim"
_ENGINES = ("podman", "docker")
_SECONDS = 10.0
_NO_IMAGE = re.compile(r"no such (image|object)|image not known", re.IGNORECASE)


class ContainerPlace:
    """A container per interpreter. The image has to be there: nothing is downloaded."""

    title = "a container"
    missing = "It is a real Python without packages such as numpy. Files can be written in /tmp only."

    def __init__(self, engines: Sequence[str] = _ENGINES) -> None:
        self._engine = next((each for each in engines if shutil.which(each) is not None), "")

    def check(self) -> None:
        """Look for the image. Raises Unavailable."""
        if not self._engine:
            raise Unavailable("neither podman nor docker is installed", "Install podman.")
        try:
            found = _quietly(self._engine, "image", "inspect", IMAGE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{self._engine} does not answer: {error}", "Start its service.") from None
        if found.returncode != 0:
            said = (found.stderr.decode("utf-8", "replace").strip() or "no reason given").splitlines()[-1]
            if _NO_IMAGE.search(said):
                raise Unavailable(
                    f"{self._engine} has no image of Python", f"Run: {self._engine} pull {IMAGE}"
                )
            raise Unavailable(f"{self._engine} does not work: {said}", "Start its service.")

    def start(self, limits: Limits, shared: Path | None) -> ProcessInterpreter:
        """Start a container."""
        name = f"ossctl-python-{secrets.token_hex(6)}"
        argv = [self._engine, *container_arguments(name, limits, shared)]

        def kill() -> None:
            try:
                _quietly(self._engine, "kill", name)
            except (OSError, subprocess.TimeoutExpired):
                return  # it ends by itself: its standard input is closed

        return ProcessInterpreter(argv, None, limits, kill)

    def close(self) -> None:
        """Nothing is shared by the interpreters."""


def container_arguments(name: str, limits: Limits, shared: Path | None) -> Iterator[str]:
    """The arguments of podman or docker that start an interpreter."""
    yield from ("run", "--rm", "--interactive", "--name", name, "--pull", "never")
    yield from ("--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534:65534")
    yield from ("--security-opt", "no-new-privileges")
    yield from ("--memory", str(limits.memory), "--memory-swap", str(limits.memory))
    yield from ("--pids-limit", str(limits.processes + 16))  # threads count; child.py counts processes
    yield from ("--tmpfs", f"/tmp:size={limits.files},mode=1777", "--workdir", "/tmp")  # noqa: S108
    yield from (argument for each in ENVIRONMENT.items() for argument in ("--env", "=".join(each)))
    if shared is not None:
        yield from ("--volume", f"{shared}:{SHARED}:ro")
    yield from (IMAGE, "python3", "-I", *child_arguments(limits))


def _quietly(*argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 (podman or docker)
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
    )
