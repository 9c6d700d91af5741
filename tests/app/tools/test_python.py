"""Python for the model: what a call returns, its state, its limits, and what it cannot touch.

Every place that works on this machine runs the same tests; containers do in the slow ones, if podman or
docker has the image. A stand-in for podman shows the protocol without it.
"""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from ossctl.app.tools.options import ToolOptions
from ossctl.app.tools.python.bubblewrap import BubblewrapPlace
from ossctl.app.tools.python.container import IMAGE, ContainerPlace, container_arguments
from ossctl.app.tools.python.interpreter import Limits, Unavailable
from ossctl.app.tools.python.monty import MontyInterpreter
from ossctl.app.tools.python.source import PLACES, PlaceName, PythonSession, PythonSource
from ossctl.app.tools.source import MAX_RESULT_BYTES, ToolOutcome
from ossctl.dialect import ToolCall
from ossctl.errors import UsageError

LIMITS = Limits(seconds=30.0, memory=512 << 20, processes=8, files=8 << 20, printed=1 << 20)


def works(name: PlaceName) -> bool:
    try:
        PLACES[name]().check()
    except Unavailable:
        return False
    return True


BWRAP = pytest.mark.skipif(not works("bwrap"), reason="bubblewrap does not work here")
MONTY = pytest.mark.skipif(not works("monty"), reason="pydantic-monty is not installed")
CONTAINER = pytest.mark.skipif(not works("container"), reason="no podman or docker with the Python image")
EVERYWHERE = pytest.mark.parametrize(
    "place",
    [
        pytest.param("monty", marks=MONTY),
        pytest.param("bwrap", marks=BWRAP),
        pytest.param("container", marks=[CONTAINER, pytest.mark.slow]),
    ],
)


@pytest.fixture
def source(place: PlaceName) -> Iterator[PythonSource]:
    source = PythonSource(place, LIMITS)
    yield source
    source.close()


@pytest.fixture
def session(source: PythonSource) -> Iterator[PythonSession]:
    session = source.open()
    yield session
    session.close()


def run(session: PythonSession, code: str, seconds: float = 60.0) -> ToolOutcome:
    """Run code; stop it as the user does after `seconds`."""
    end = time.monotonic() + seconds
    return session.run(ToolCall("python", json.dumps({"code": code})), lambda: time.monotonic() < end)


@EVERYWHERE
def test_a_call_returns_what_was_printed_and_the_last_value_and_keeps_variables(
    session: PythonSession,
) -> None:
    assert run(session, "x = 20").result == "[the code printed nothing]"
    assert run(session, "print('a', end='')\nx + 1;").result == "a21"
    assert run(session, "[\n    'é',\n]  # a list").result == "['é']"
    assert run(session, "None").result == "[the code printed nothing]"
    assert run(session, "for i in range(2):\n    i").result == "[the code printed nothing]"


@EVERYWHERE
def test_lines_end_where_python_ends_them(session: PythonSession) -> None:
    assert run(session, "s = 'a\u2028b\x0cc\x85d'\nlen(s)").result == "7"
    assert run(session, "x = 1\r\nx + 1").result == "2"
    text = run(session, "'a\u2028b\x85c'\nx = 1\n1 / 0").result
    assert "line 3" in text
    assert "    1 / 0" in text


@EVERYWHERE
def test_conversations_do_not_see_each_other(source: PythonSource) -> None:
    first, second = source.open(), source.open()
    run(first, "x = 1")
    assert "NameError" in run(second, "x").result
    first.close()
    third = source.open()
    assert "NameError" in run(third, "x").result
    second.close()
    third.close()


@EVERYWHERE
def test_an_exception_is_a_short_traceback_and_keeps_variables(session: PythonSession) -> None:
    outcome = run(session, "x = 1\ndef f(a):\n    return 1 / a\nf(0)")
    assert not outcome.ok
    assert outcome.result.startswith("Traceback")
    assert "line 3, in f\n    return 1 / a" in outcome.result
    assert outcome.result.endswith("ZeroDivisionError: division by zero")
    assert "ossctl" not in outcome.result
    assert "SyntaxError" in run(session, "a b").result
    assert run(session, "x").result == "1"


@EVERYWHERE
@pytest.mark.parametrize("arguments", ["", "print(1)", "[]", '{"code": 1}', "[" * 100_000])
def test_other_arguments_are_an_error_for_the_model(session: PythonSession, arguments: str) -> None:
    outcome = session.run(ToolCall("python", arguments), lambda: True)
    assert not outcome.ok
    assert "error" in json.loads(outcome.result)


@EVERYWHERE
@pytest.mark.parametrize(
    "code",
    [
        f"print(open({__file__!r}).read())",
        f"import os\nprint(os.listdir({str(Path.home())!r}).index('.bashrc'))",
        "import os\nprint(os.environ['OSSCTL_SECRET'])",
        "print(open('/proc/OURS/cmdline').read())",
        "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)",
        "import socket\nsocket.create_connection(('192.0.2.1', 53), 1)",
        "open('/usr/x', 'w')",
        "open('/x', 'w')",
        "open('/dev/tty', 'w')",
        "for i in range(20):\n    open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))",
        "x = 'x' * (1 << 30)",
    ],
)
def test_what_reaches_outside_fails_and_the_model_is_told(
    session: PythonSession, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSSCTL_SECRET", "secret")
    outcome = run(session, code.replace("OURS", str(os.getpid())))
    assert not outcome.ok
    assert "Error" in outcome.result.splitlines()[-1]
    assert run(session, "1 + 1").result == "2"


@EVERYWHERE
def test_an_endless_loop_is_stopped(session: PythonSession) -> None:
    started = time.monotonic()
    outcome = run(session, "while True:\n    pass", seconds=0.2)
    assert not outcome.ok
    assert "the user stopped this call" in outcome.result
    assert time.monotonic() - started < 5
    assert run(session, "1 + 1").result == "2"


@EVERYWHERE
@pytest.mark.parametrize("code", ["while True: print('x' * 1000)", "print('x' * 100_000_000)"])
def test_endless_output_is_truncated_and_stopped(session: PythonSession, code: str) -> None:
    outcome = run(session, code)
    assert not outcome.ok
    assert "stopped because it printed more than 1 MiB" in outcome.result
    assert f"truncated after {MAX_RESULT_BYTES:,} bytes" in outcome.result
    assert len(outcome.result) < MAX_RESULT_BYTES + 500


@EVERYWHERE
def test_code_that_takes_too_long_is_stopped(place: PlaceName) -> None:
    source = PythonSource(place, replace(LIMITS, seconds=0.3))
    session = source.open()
    assert "stopped because it took more than 0.3 s" in run(session, "while True: pass").result
    assert "time out after 0.3 seconds" in source.tools()[0].description
    session.close()
    source.close()


@EVERYWHERE
def test_a_shared_folder_can_be_read_but_not_written_nor_left(place: PlaceName, tmp_path: Path) -> None:
    folder = tmp_path / 'a:b, c"d'
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    (tmp_path / "b.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "b.txt")
    source = PythonSource(place, LIMITS, folder)
    assert source.notes() == [f"The model's Python can read {folder} as /mnt/data."]
    assert "/mnt/data" in source.tools()[0].description
    session = source.open()
    assert run(session, "open('/mnt/data/a.txt').read()").result == "'hello'"
    assert not run(session, "open('/mnt/data/a.txt', 'w')").ok
    assert not run(session, "open('/mnt/data/link').read()").ok
    session.close()
    source.close()


@EVERYWHERE
def test_a_conversation_may_change_its_thread(session: PythonSession) -> None:
    for code in "x = 1", "x += 1":
        thread = Thread(target=run, args=(session, code))
        thread.start()
        thread.join()
    assert run(session, "x").result == "2"


PROCESSES = pytest.mark.parametrize(
    "place",
    [
        pytest.param("bwrap", marks=BWRAP),
        pytest.param("container", marks=[CONTAINER, pytest.mark.slow]),
    ],
)


@PROCESSES
def test_interrupted_code_keeps_its_variables(session: PythonSession) -> None:
    run(session, "x = 1")
    run(session, "import time\ntime.sleep(60)", seconds=0.2)
    assert run(session, "x").result == "1"


@PROCESSES
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nos._exit(1)", "the Python process ended"),
        ("import os\nos.closerange(3, 100)\nos.kill(os.getpid(), 9)", "the Python process ended"),
        (
            "import subprocess, time\nfor _ in range(9): subprocess.Popen(['sleep', '9'])\ntime.sleep(9)",
            "killed because it started more than 8 processes",
        ),
    ],
)
def test_an_interpreter_that_ends_is_replaced(session: PythonSession, code: str, reason: str) -> None:
    outcome = run(session, f"x = 1\n{code}")
    assert reason in outcome.result
    assert "its variables and imports are lost" in outcome.result
    assert "NameError" in run(session, "x").result


@PROCESSES
def test_processes_together_are_held_to_the_limit_of_memory(session: PythonSession) -> None:
    outcome = run(
        session,
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0:\n        x = bytes(1) * (250 << 20)\n"
        "        time.sleep(9)\ntime.sleep(9)",
    )
    assert "killed because it took more than 512 MiB of memory" in outcome.result


@PROCESSES
def test_code_may_fork_close_its_streams_and_run_programs(session: PythonSession) -> None:
    assert run(session, "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('x')").result == "x\nx"
    run(session, "import os\nos.close(1)\nos.close(2)")
    assert (
        run(session, "import subprocess\nprint(subprocess.run(['echo', 'hi']).returncode)").result == "hi\n0"
    )


@PROCESSES
def test_processes_end_with_ossctl(place: PlaceName) -> None:
    program = (
        "from tests.app.tools.test_python import *\n"
        f"session = PythonSource({place!r}, LIMITS).open()\n"
        'run(session, \'import subprocess; subprocess.Popen(["sleep", "987654"])\')\n'
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    deadline = time.monotonic() + 5
    while _running("987654") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running("987654")


def _running(argument: str) -> bool:
    found = False
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found = found or each.read_bytes().split(b"\0")[:2] == [b"sleep", argument.encode()]
        except OSError:
            continue
    return found


def test_a_container_has_no_network_and_limits() -> None:
    arguments = list(container_arguments("podman", "name", LIMITS, Path("/data")))
    text = " ".join(arguments[: arguments.index(IMAGE)])
    assert "--network none" in text
    assert "--read-only" in text
    assert "--cap-drop ALL" in text
    assert f"--memory {512 << 20} --memory-swap {512 << 20}" in text
    assert "--pids-limit 24" in text
    assert '--mount type=bind,"source=/data",target=/mnt/data,readonly' in text
    assert "--pull never" in text
    assert "PATH=" not in text


@pytest.mark.skipif(sys.platform != "linux", reason="containers elsewhere run in a virtual machine")
@pytest.mark.parametrize(
    ("engine", "user", "expected"),
    [
        ("podman", 1001, "--user 1001:100 --userns keep-id"),
        ("docker", 1001, "--user 1001:100"),
        ("podman", 0, "--user 65534:65534"),
    ],
)
def test_a_container_reads_a_shared_folder_as_the_user_who_shares_it(
    monkeypatch: pytest.MonkeyPatch, engine: str, user: int, expected: str
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.setattr(os, "getgid", lambda: 100)
    assert f"{expected} {IMAGE}" in " ".join(container_arguments(engine, "name", LIMITS, Path("/data")))


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """A program with podman's command line that runs the image's Python as it is, in a PID namespace."""
    if sys.platform != "linux" or subprocess.run(["unshare", "-Urpf", "true"], check=False).returncode:
        pytest.skip("needs namespaces")
    script = tmp_path / "podman"
    script.write_text(
        f'#!/bin/sh\ncase "$1" in image) exit 0;; kill) exit 0;; esac\n'
        f'while [ "$1" != {IMAGE} ]; do shift; done; shift 2\n'
        'echo "Resource limits are not supported" >&2\n'
        f'exec unshare -Urpf --mount-proc --kill-child {sys.executable} "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def test_a_container_speaks_the_same_protocol(engine: str) -> None:
    place = ContainerPlace([engine])
    place.check()
    session = PythonSession(lambda: place.start(LIMITS, None))
    assert run(session, "x = 1\nx + 1").result == "2"
    assert "ended" in run(session, "import os\nos._exit(1)").result
    assert "NameError" in run(session, "x").result
    session.close()


def unavailable(tmp_path: Path) -> Sequence[BubblewrapPlace]:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2; exit 1\n")
    broken.chmod(0o755)
    return BubblewrapPlace("no-such-bwrap"), BubblewrapPlace(str(broken))


@BWRAP
def test_an_environment_may_be_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "venv"
    link.symlink_to(sys.prefix)
    program = link / Path(sys.executable).relative_to(sys.prefix)
    monkeypatch.setattr(sys, "prefix", str(link))
    monkeypatch.setattr(sys, "executable", str(program))
    BubblewrapPlace().check()


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap")
def test_a_place_that_does_not_work_is_passed_over_and_said(tmp_path: Path, engine: str) -> None:
    missing, broken = unavailable(tmp_path)
    places = {
        "monty": lambda: missing,
        "bwrap": lambda: broken,
        "container": lambda: ContainerPlace([engine]),
    }
    source = PythonSource(None, LIMITS, None, places)  # type: ignore[arg-type]
    assert source.notes() == [
        (
            "Python runs in a container: bubblewrap is not installed; "
            "bubblewrap does not work: setting up uid map: Permission denied."
        )
    ]
    named = PythonSource("bwrap", LIMITS, None, places)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--python-in bwrap: bubblewrap does not work") as error:
        named.tools()
    assert "user namespaces" in error.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(
    ("said", "reason", "hint"),
    [
        ("Error response from daemon: No such image: python", "docker has no Python image", "docker pull"),
        ("Cannot connect to the Docker daemon", "docker does not work: Cannot connect", "Start its service"),
        (
            "docker: Error response from daemon: no runc\n\nRun 'docker run --help' for more information",
            "docker does not work: docker: Error response from daemon: no runc",
            f"docker run --rm {IMAGE}",
        ),
    ],
)
def test_a_missing_image_and_a_missing_service_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, reason: str, hint: str
) -> None:
    engine = tmp_path / "docker"
    engine.write_text(f'#!/bin/sh\necho "{said}" >&2; exit 1\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Unavailable, match=reason) as error:
        ContainerPlace(["docker"]).check()
    assert hint in error.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_an_image_that_cannot_be_run_is_found_before_the_first_call(tmp_path: Path) -> None:
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\n[ $1 = image ] && exit 0\necho 'Error: crun: no cgroups' >&2; exit 126\n")
    engine.chmod(0o755)
    with pytest.raises(Unavailable, match="does not work: crun: no cgroups"):
        ContainerPlace([str(engine)]).check()


def test_a_process_that_ends_as_it_is_killed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_pid: int, _signum: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # as on Windows

    interpreter = MontyInterpreter.__new__(MontyInterpreter)
    interpreter._pid = 1
    monkeypatch.setattr(os, "kill", ended)
    interpreter._kill()


def test_no_place_at_all_is_an_error_with_every_reason() -> None:
    places = {"bwrap": lambda: BubblewrapPlace("no-such-bwrap"), "container": lambda: ContainerPlace([])}
    source = PythonSource(None, LIMITS, None, places)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="neither podman nor docker is installed"):
        source.tools()


def test_the_options_lead_to_a_source(tmp_path: Path) -> None:
    assert not ToolOptions().toolbox().runs_tools
    assert ToolOptions(python=True).toolbox().runs_tools
    assert ToolOptions(python_in="bwrap").toolbox().runs_tools
    with pytest.raises(UsageError, match="--python-files needs --python"):
        ToolOptions(python_files=tmp_path).toolbox()


def test_a_shared_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--python-files .*: there is no such folder"):
        PythonSource(None, LIMITS, tmp_path / "no")
