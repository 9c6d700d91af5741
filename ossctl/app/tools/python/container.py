"""Runs the model's Python in containers of podman or docker, without network."""

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ossctl.app.tools.python.bubblewrap import ENVIRONMENT, child_arguments
from ossctl.app.tools.python.interpreter import SHARED, Limits, Unavailable
from ossctl.app.tools.python.process import ProcessInterpreter

IMAGE = "docker.io/library/python:3.13-slim"
_ENGINES = ("podman", "docker")
_NOBODY = "65534:65534"
_SECONDS = 30.0
_NO_IMAGE = re.compile(r"no such (image|object)|image not known", re.IGNORECASE)


class ContainerPlace:
    """A container per interpreter. The image has to be there: nothing is downloaded."""

    title = "a container"
    missing = "It is a real Python without packages such as numpy. Files can be written in /tmp only."

    def __init__(self, engines: Sequence[str] = _ENGINES) -> None:
        self._engine = next((each for each in engines if shutil.which(each) is not None), "")

    def check(self) -> None:
        """Look for the image, and run its Python once. Raises Unavailable."""
        if not self._engine:
            raise Unavailable("neither podman nor docker is installed", "Install podman.")
        name = _new_name()
        for arguments in (
            ("image", "inspect", IMAGE),
            (*container_arguments(self._engine, name, Limits(1.0), None), "-c", ""),
        ):
            try:
                tried = _quietly(self._engine, *arguments)
            except (OSError, subprocess.TimeoutExpired) as error:
                self._kill(name)
                raise Unavailable(f"{self._engine} does not answer: {error}", self._hint()) from None
            if tried.returncode != 0:
                raise self._unavailable(tried.stderr.decode("utf-8", "replace"))

    def start(self, limits: Limits, shared: Path | None) -> ProcessInterpreter:
        """Start a container."""
        name = _new_name()
        argv = [
            self._engine,
            *container_arguments(self._engine, name, limits, shared),
            *child_arguments(limits),
        ]
        return ProcessInterpreter(argv, None, limits, lambda: self._kill(name))

    def close(self) -> None:
        """Nothing is shared by the interpreters."""

    def _kill(self, name: str) -> None:
        try:
            _quietly(self._engine, "kill", name)
        except (OSError, subprocess.TimeoutExpired):
            return  # it ends by itself: its standard input is closed

    def _unavailable(self, errors: str) -> Unavailable:
        lines = errors.split("\n")
        said = (
            next((line for line in lines if "error" in line.lower()), lines[0]).strip() or "no reason given"
        )
        if _NO_IMAGE.search(said):
            return Unavailable(f"{self._engine} has no Python image", f"Run: {self._engine} pull {IMAGE}")
        return Unavailable(f"{self._engine} does not work: {said.removeprefix('Error: ')}", self._hint())

    def _hint(self) -> str:
        return f"Start its service, and try: {self._engine} run --rm {IMAGE}"


def container_arguments(engine: str, name: str, limits: Limits, shared: Path | None) -> Iterator[str]:
    """The arguments with which podman or docker runs the image's Python; its own follow."""
    yield from ("run", "--rm", "--interactive", "--name", name, "--pull", "never")
    yield from (
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    )
    yield from ("--memory", str(limits.memory), "--memory-swap", str(limits.memory))
    yield from ("--pids-limit", str(limits.processes + 16))  # threads count; child.py counts processes
    yield from ("--tmpfs", f"/tmp:size={limits.files},mode=1777", "--workdir", "/tmp")  # noqa: S108
    for variable, value in ENVIRONMENT.items():
        if variable != "PATH":  # the image's leads to its Python
            yield from ("--env", f"{variable}={value}")
    if shared is None:
        yield from ("--user", _NOBODY)
    else:
        source = f"source={shared}".replace('"', '""')
        yield from ("--mount", f'type=bind,"{source}",target={SHARED},readonly')
        yield from ("--security-opt", "label=disable")  # SELinux hides the user's files from containers
        yield from _reader(engine)
    yield from (IMAGE, "python3", "-I")


def _reader(engine: str) -> Iterator[str]:
    """The user of the container: ossctl's own, who can read the shared folder, unless that is root."""
    if sys.platform != "linux" or os.getuid() == 0:
        yield from ("--user", _NOBODY)
    else:
        yield from ("--user", f"{os.getuid()}:{os.getgid()}")
        if Path(engine).name == "podman":  # which runs without root, and numbers users otherwise
            yield from ("--userns", "keep-id")


def _new_name() -> str:
    return f"ossctl-python-{secrets.token_hex(6)}"


def _quietly(*argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 (podman or docker)
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
    )
