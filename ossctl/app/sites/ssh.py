"""Sites on other machines, which ssh starts.

Everything but the command `ossctl site` goes through stdin. That it works is up to the user's own ssh: its
options come from ~/.ssh/config, and nothing asks for a password or about a host key.
"""

import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ossctl.app.sites.last_words import reported_cause
from ossctl.app.sites.process import ProcessSite, how
from ossctl.app.sites.site import Failed, Lost, Ready, SiteEvent, SiteJob
from ossctl.app.tools.processes import argv_of
from ossctl.errors import ExitCode

LOCAL = "localhost"

_OPTIONS = {
    "BatchMode": "yes",  # never ask
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "2",
    "ConnectTimeout": "10",
    "ClearAllForwardings": "yes",
    "ControlMaster": "no",  # a master that stays would keep the pipes open
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "LogLevel": "ERROR",  # no banners
}
# pip, pipx and uv may install to ~/.local/bin, which only login shells have on their PATH.
_FROM_PATH = "PATH=$PATH:$HOME/.local/bin; export PATH; ossctl"

_SSH_FAILED = 255  # also if a signal has ended the command there
_SIGNALLED = 128  # what a shell adds to the number of the signal that ended its command
_SIGNALS = range(1, 32)  # of every Unix
_FROM_OUTSIDE = (1, 2, 15)  # SIGHUP, SIGINT, SIGTERM: no line causes these
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_USAGE = 2
_LONGEST = 200  # characters of an error that is not known

# What ssh says, and what that means to the user.
_PROBLEMS = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key has changed", "`ssh {}` shows details."),
    (r"Host key verification failed", "its host key is not known", "Log in once manually: `ssh {}`."),
    (
        r"Permission denied \(|Too many authentication failures",
        "it refuses the login",
        "`ssh {}` has to work without a password: is the key in the agent (`ssh-add -l`)?",
    ),
    (r"Could not resolve hostname", "no host has this name", "Is it in ~/.ssh/config, or in the DNS?"),
    (r"Connection refused", "it refuses the connection", "Does an ssh server run there, at this port?"),
    (r"timed out", "it does not answer: the connection timed out", "Does `ssh {}` work?"),
    (r"No route to host|Network is unreachable", "there is no route to it", "Does `ssh {}` work?"),
)


@dataclass(frozen=True)
class Host:
    """A host as ssh takes it, and the path of ossctl there; "" if the host's shell finds it."""

    name: str
    program: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it means this machine, without ssh."""
        return self.name == LOCAL

    def command(self) -> list[str]:
        """The command that becomes a site there. `OSSCTL_SSH` replaces the command `ssh`."""
        ssh = argv_of(os.environ.get("OSSCTL_SSH", ""), "OSSCTL_SSH") or ["ssh"]
        options = [f"-o{name}={value}" for name, value in _OPTIONS.items()]
        # The shell outlives the engine, to tell its end from that of the connection.
        return [*ssh, *options, "--", self.name, f"sh -c '{self.program or _FROM_PATH} site; exit $?'"]


class SshPlace:
    """Starts the sites of one host. Until one was ready there, what keeps it from starting is final."""

    def __init__(self, job: SiteJob, host: Host) -> None:
        self._job = job
        self._host = host
        self.was_ready = False

    def new_site(self) -> "SshSite":
        """A site that is not started yet."""
        return SshSite(self._job, self._host, self)


class SshSite(ProcessSite):
    """A site on a host."""

    def __init__(self, job: SiteJob, host: Host, place: SshPlace) -> None:
        super().__init__(job, host.command())
        self._host = host
        self._place = place

    def start(self, deliver: Callable[[SiteEvent], None]) -> None:
        """As in `Site`."""

        def deliver_as_known(event: SiteEvent) -> None:
            if isinstance(event, Ready):
                self._place.was_ready = True
            if isinstance(event, Failed) and self._place.was_ready and event is not self._refusal:
                event = Lost(event.message)
            deliver(event)

        super().start(deliver_as_known)

    def _death(self, code: int, problem: str) -> Failed | Lost:
        if not self._greeted:
            return connection_failure(self._host, code, self._stderr)
        return death_there(code, problem, [*self._stderr])


def death_there(code: int, problem: str, stderr: Sequence[str]) -> Lost:
    """Why a site on a host has died, from ssh's exit code. Only an engine that crashed blames its lines."""
    text = "\n".join(stderr)
    if reported_cause(stderr):
        return Lost(how(code), text)
    if problem or code < 0 or code == _SSH_FAILED:
        return Lost(problem or "the connection was lost", text, innocent=True)
    number = code - _SIGNALLED
    known = signal.valid_signals()  # on this machine: Windows has few of them
    if number not in {*_SIGNALS, *known}:
        return Lost(how(code), text)
    of_shell = signal.strsignal(number) if number in known else None  # such as `Killed`
    text = "\n".join(line for line in stderr if not of_shell or of_shell not in line)
    return Lost(how(-number), text, innocent=number in _FROM_OUTSIDE)


def connection_failure(host: Host, code: int, stderr: Sequence[str]) -> Failed | Lost:
    """Why no site could be started on a host, from ssh's exit code and what it and the host printed.

    Lost is for what another try may change.
    """
    text = "\n".join(stderr)
    if code == _SSH_FAILED:
        for pattern, message, hint in _PROBLEMS:
            if re.search(pattern, text):
                return Failed(ExitCode.FAILED, message, hint.format(host.name))
    if code in (_NOT_FOUND, _NOT_EXECUTABLE):
        program = host.program or "ossctl"
        hint = f"Install it there, or give its path: {host.name}:/path/to/ossctl."
        return Failed(ExitCode.FAILED, f"it has no program {program}", hint)
    if code == _USAGE and "site" in text:
        message = "its version of ossctl cannot run engines for other machines"
        return Failed(ExitCode.FAILED, message, "Install the same version there.")
    last = next((line for line in reversed(stderr) if line.strip()), "")[:_LONGEST]
    if code < 0 or code == _SSH_FAILED:
        return Lost("the connection failed", last)
    return Failed(ExitCode.FAILED, f"the command there ended with exit code {code}: {last}".rstrip(": "))
