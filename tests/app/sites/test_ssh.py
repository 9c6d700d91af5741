"""Hosts as users name them, and what ssh's failures mean."""

import io
import signal

import pytest

from ossctl.app.sites import frames
from ossctl.app.sites.frames import Finish, Lines
from ossctl.app.sites.hosts import parse_hosts
from ossctl.app.sites.site import Beat, Failed, Lost, SiteLine
from ossctl.app.sites.ssh import Host, connection_failure, death_there
from ossctl.errors import UsageError


def test_hosts_are_those_of_ssh_and_this_machine() -> None:
    assert parse_hosts("a, user@b:/opt/my.env/bin/ossctl,ssh://c:2222,::1,d:~/bin/ossctl,.") == [
        Host("a"),
        Host("user@b", "/opt/my.env/bin/ossctl"),
        Host("ssh://c:2222"),
        Host("::1"),
        Host("d", "~/bin/ossctl"),
        Host("localhost"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" , ", "names no host"),
        ("-oProxyCommand=x", "is not a host name"),
        ("a b", "is not a host name"),
        ("a,b,a", "names a twice"),
        (".,localhost", "names localhost twice"),
        ("a:22", "a port can only be part of a URL"),
        ("localhost:/opt/ossctl", "uses the running ossctl"),
        ("a:/opt/x;id", "characters that shells interpret differently"),
        ("a:/opt/$HOME/ossctl", "characters that shells interpret differently"),
    ],
)
def test_what_is_no_host(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_hosts(text)


def test_nothing_of_the_job_is_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSSCTL_SSH", "ssh -F 'my config'")
    command = Host("a", "/opt/ossctl").command()
    assert command[:3] == ["ssh", "-F", "my config"]
    assert command[-3:] == ["--", "a", "sh -c '/opt/ossctl site; exit $?'"]
    assert "-oBatchMode=yes" in command


@pytest.mark.parametrize(
    ("code", "stderr", "message"),
    [
        (255, "Host key verification failed.", "its host key is not known"),
        (
            255,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "its host key has changed",
        ),
        (255, "me@a: Permission denied (publickey,password).", "it refuses the login"),
        (255, "ssh: Could not resolve hostname a: Name or service not known", "no host has this name"),
        (255, "ssh: connect to host a port 22: Connection refused", "it refuses the connection"),
        (
            255,
            "ssh: connect to host a port 22: Connection timed out",
            "it does not answer: the connection timed out",
        ),
        (255, "Connection timed out during banner exchange", "it does not answer: the connection timed out"),
        (255, "ssh: connect to host a port 22: No route to host", "there is no route to it"),
        (127, "sh: 1: exec: ossctl: not found", "it has no program ossctl"),
        (2, "No such command 'site'.", "its version of ossctl cannot run engines for other machines"),
        (
            1,
            "+ export TOKEN=secret\nModuleNotFoundError: No module named 'llama_cpp'",
            "the command there ended with exit code 1: ModuleNotFoundError: No module named 'llama_cpp'",
        ),
    ],
)
def test_failures_of_ssh_are_explained(code: int, stderr: str, message: str) -> None:
    failure = connection_failure(Host("a"), code, stderr.splitlines())
    assert isinstance(failure, Failed)
    assert failure.message == message


@pytest.mark.parametrize(
    ("code", "stderr", "cause", "innocent"),
    [
        (255, "", "the connection was lost", True),
        (255, "Connection to a closed.", "the connection was lost: Connection to a closed.", True),
        (-signal.SIGKILL, "", "the connection was lost", True),
        (128 + signal.SIGTERM, "", "killed by SIGTERM", True),
        (128 + signal.SIGKILL, "Killed\n", "killed by SIGKILL", False),
        (128 + signal.SIGSEGV, "sh: line 1: 7 Segmentation fault  ossctl", "killed by SIGSEGV", False),
        (128 + signal.SIGSEGV, "Fatal Python error", "killed by SIGSEGV: Fatal Python error", False),
        (1, "ossctl: llama.cpp crashed: SIGSEGV.", "llama.cpp crashed: SIGSEGV", False),
        (255, "ossctl: llama.cpp crashed: SIGSEGV.", "llama.cpp crashed: SIGSEGV", False),
    ],
)
def test_the_loss_of_a_connection_blames_no_line(code: int, stderr: str, cause: str, innocent: bool) -> None:
    lost = death_there(code, "", stderr.splitlines())
    assert (lost.cause, lost.innocent) == (cause, innocent)


def test_other_failures_of_ssh_may_pass() -> None:
    last = "kex_exchange_identification: Connection closed by remote host"
    assert connection_failure(Host("a"), 255, [last]) == Lost("the connection failed", last)
    assert isinstance(connection_failure(Host("a"), -9, []), Lost)


def test_what_a_shell_prints_before_is_skipped() -> None:
    pipe = io.BytesIO()
    pipe.write(b"Welcome!\n\x00\xff no newline")
    frames.begin(pipe)
    frames.write(pipe, Beat())
    pipe.seek(0)
    assert [*frames.of_site(pipe, _unheard)] == [Beat()]
    assert [*frames.of_site(io.BytesIO(b"nothing but a greeting\n"), _unheard)] == []


def test_a_long_message_is_heard_while_it_arrives() -> None:
    """On a slow network, it takes longer than a site may be silent."""
    pipe, heard = io.BytesIO(), list[int]()
    line = SiteLine(0, 1, b"x" * 300_000)
    frames.write(pipe, Lines([line]))
    frames.write(pipe, Finish())
    pipe.seek(0)
    assert [*frames.of_driver(pipe, lambda: heard.append(pipe.tell()))] == [Lines([line]), Finish()]
    assert len(heard) >= 4
    assert heard[-1] < 300_000


def _unheard() -> None: ...


def test_a_signal_there_is_one_for_a_driver_on_windows_which_has_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "valid_signals", lambda: {signal.SIGINT, signal.SIGTERM})
    killed = death_there(137, "", ["out of memory"])
    assert (killed.reason, killed.stderr, killed.innocent) == ("killed by SIGKILL", "out of memory", False)
    assert death_there(129, "", []).innocent
