"""Functions of real MCP servers, of well-behaved ones and of others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Timer
from time import monotonic, sleep

import psutil
import pytest

from ossctl.app.tools.mcp import connection, stdio
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.source import McpSource
from ossctl.app.tools.source import MAX_RESULT_BYTES, ToolOutcome
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import ToolCall
from ossctl.errors import OssctlError, UsageError
from tests import support

SUPPORT = Path(next(iter(support.__path__)))
TOYS = (sys.executable, str(SUPPORT / "mcp_server.py"))
BY_HAND = (sys.executable, str(SUPPORT / "mcp_by_hand.py"))


@pytest.fixture(scope="module")
def toys() -> Iterator[McpSource]:
    """A server of the `mcp` package, for all tests that leave it as it is."""
    server = McpServer(
        "toys", (*TOYS, "toys"), shown="toys.py", env={"TOY_KEY": "s3cr3t-value"}, allow=("add",)
    )
    with closing(McpSource([server], 20.0)) as source:
        source.tools()
        yield source


@pytest.fixture
def by_hand() -> Iterator[McpSource]:
    with closing(McpSource([McpServer("old", (*BY_HAND, "good"))], 20.0)) as source:
        yield source


def run(source: McpSource, name: str, go: Callable[[], bool], arguments: dict[str, object]) -> ToolOutcome:
    outcome = source.open().run(ToolCall(name, json.dumps(arguments)), go)
    assert outcome.call.name == name
    return outcome


def result_of(source: McpSource, name: str, /, **arguments: object) -> str:
    outcome = run(source, name, lambda: True, arguments)
    assert outcome.ok, outcome.result
    return outcome.result


def fault_of(source: McpSource, name: str, /, **arguments: object) -> str:
    outcome = run(source, name, lambda: True, arguments)
    assert not outcome.ok, outcome.result
    fault = json.loads(outcome.result)["error"]
    assert isinstance(fault, str)
    return fault


def test_functions_are_named_after_server_and_tool_and_keep_their_schemas(toys: McpSource) -> None:
    tools = {tool.name: tool for tool in toys.tools()}
    assert {"toys_add", "toys_odd_name_"} <= set(tools)
    assert tools["toys_add"].description == "Add two numbers."
    assert tools["toys_add"].parameters == {
        "type": "object",
        "properties": {
            "a": {"description": "The first number.", "type": "integer"},
            "b": {"type": "integer"},
        },
        "required": ["a", "b"],
    }
    assert toys.describe("toys_add") == "MCP server toys: toys.py, at most 20 s"
    (status,) = toys.servers()
    assert (status.name, status.state, status.error) == ("toys", "running", "")
    assert list(status.tools) == list(tools.values())


def test_results_are_text(toys: McpSource) -> None:
    assert result_of(toys, "toys_add", a=1, b=2) == "3"
    assert result_of(toys, "toys_odd_name_") == "odd"
    assert result_of(toys, "toys_words", text="to be") == "to\nbe"
    assert result_of(toys, "toys_words", text="") == '{"result":[]}'


def test_what_is_no_text_is_named(toys: McpSource) -> None:
    assert result_of(toys, "toys_contents").splitlines() == [
        "a text",
        "[image, image/png: only text can be read]",
        "[notes](file:///notes.txt): all notes",
        "memo:1:",
        "remember",
        "[resource memo:2, binary: only text can be read]",
    ]


def test_a_failure_is_the_models_to_read(toys: McpSource) -> None:
    assert "there is no such city: Atlantis" in fault_of(toys, "toys_refuse")
    assert "Input should be a valid integer" in fault_of(toys, "toys_add", a="x", b=1)
    outcome = toys.open().run(ToolCall("toys_add", "[1, 2]"), lambda: True)
    assert "the arguments are not a JSON object" in outcome.result


def test_a_call_is_asked_about_unless_the_server_allows_it(toys: McpSource) -> None:
    session = toys.open()
    assert session.question(ToolCall("toys_add", "{}")) is None
    assert session.question(ToolCall("toys_words", '{"text":"a"}')) == 'Run toys_words({"text":"a"})?'


def test_a_large_result_is_cut(toys: McpSource) -> None:
    result = result_of(toys, "toys_flood", megabytes=1)
    assert result.startswith("x" * MAX_RESULT_BYTES)
    assert result.endswith("[truncated after 65,536 bytes]")


def test_lines_that_are_no_messages_are_passed_over(toys: McpSource) -> None:
    assert result_of(toys, "toys_mutter", lines=200) == "muttered"


def test_a_server_gets_a_safe_environment_and_what_is_meant_for_it(toys: McpSource) -> None:
    assert result_of(toys, "toys_variable", name="TOY_KEY") == "s3cr3t-value"
    assert result_of(toys, "toys_variable", name="PATH") == os.environ["PATH"]
    outside = set(os.environ) - {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}
    assert result_of(toys, "toys_variable", name=min(outside)) == "(not set)"


def test_a_stop_cancels_the_call_on_the_server(toys: McpSource) -> None:
    started = monotonic()
    outcome = run(toys, "toys_wait", lambda: monotonic() - started < 0.2, {"seconds": 20})
    assert "the user stopped this call" in outcome.result
    assert json.loads(result_of(toys, "toys_counts"))["cancelled"] == 1


def test_calls_of_many_conversations_run_at_the_same_time(toys: McpSource) -> None:
    assert toys.concurrent
    with ThreadPoolExecutor(16) as threads:
        waits = [threads.submit(result_of, toys, "toys_wait", seconds=0.8) for _ in range(16)]
        assert {wait.result() for wait in waits} == {"waited"}
    assert json.loads(result_of(toys, "toys_counts"))["most"] == 16


def test_a_server_that_asks_the_user_gets_a_refusal(toys: McpSource, by_hand: McpSource) -> None:
    assert "elicitation" in fault_of(toys, "toys_ask")
    assert result_of(by_hand, "old_ask").splitlines() == [
        "elicitation/create: Elicitation not supported",
        "sampling/createMessage: Sampling not supported",
        "roots/list: List roots not supported",
    ]


def test_two_functions_of_one_name_get_a_number(by_hand: McpSource) -> None:
    assert [tool.name for tool in by_hand.tools()][:3] == ["old_twice", "old_twice_2", "old_ask"]
    assert result_of(by_hand, "old_twice_2") == "twice"


def test_a_server_that_ends_during_a_call_starts_again_for_the_next(by_hand: McpSource) -> None:
    assert fault_of(by_hand, "old_end") == (
        "the MCP server old ended with exit code 7:\nThis is good.\nout of cheese, my key is None"
    )
    assert [status.state for status in by_hand.servers()] == ["ended"]
    assert result_of(by_hand, "old_twice") == "twice"
    assert [status.state for status in by_hand.servers()] == ["running"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("old_garbage", 'the MCP server old did not answer within 0.3 s:\nThis is good.\n{"jsonrpc"'),
        ("old_ignore", "the MCP server old did not answer within 0.3 s:\nThis is good."),
        ("old_unknown_content", "the MCP server old sent a response that does not follow the protocol"),
    ],
)
def test_a_call_without_a_proper_answer_fails_in_time_and_the_server_serves_on(name: str, fault: str) -> None:
    with closing(McpSource([McpServer("old", (*BY_HAND, "good"))], 0.3)) as source:
        source.tools()
        assert fault_of(source, name).startswith(fault)
        assert result_of(source, "old_twice") == "twice"


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("dead", "the MCP server old ended with exit code 3", "This is dead."),
        ("noisy", "the MCP server old prints lines that are not MCP messages", "What is this MCP?"),
        ("mute", "the MCP server old did not answer within 0.6 s", "This is mute."),
        ("endless", "the MCP server old did not answer within 0.6 s", "complaint"),
    ],
)
def test_a_server_that_cannot_start_is_an_error_with_what_it_printed_last(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: str, message: str, hint: str
) -> None:
    monkeypatch.setattr(connection, "START_SECONDS", 0.6 if "0.6 s" in message else 30.0)
    monkeypatch.setattr(stdio, "GRACE_SECONDS", 0.1)
    source = McpSource([McpServer("old", (*BY_HAND, kind))], 20.0)
    with closing(source), pytest.raises(OssctlError) as error:
        source.tools()
    assert error.value.message == message
    assert hint in error.value.hint
    assert capfd.readouterr() == ("", "")
    assert [status.state for status in source.servers()] == ["failed"]


def test_a_server_that_cannot_start_takes_the_functions_of_no_other_from_a_chat() -> None:
    servers = [McpServer("none", ("no-such-program",)), McpServer("old", (*BY_HAND, "good"))]
    toolbox = Toolbox([McpSource(servers, 20.0)])
    with closing(toolbox):
        toolbox.start()
        assert toolbox.wait(20.0)
        assert "old_twice" in [tool.name for tool in toolbox.offered]
        running, failed = toolbox.notes()
    assert running.startswith("MCP server old: ")
    assert failed.startswith("Not offered to the model: the MCP server none cannot be started")


def test_a_program_that_does_not_exist_is_an_error() -> None:
    source = McpSource([McpServer("none", ("no-such-program",))], 20.0)
    with (
        closing(source),
        pytest.raises(OssctlError, match=r"none cannot be started: No such file.*no-such-program"),
    ):
        source.tools()


def test_a_url_that_nobody_answers_is_an_error() -> None:
    source = McpSource([McpServer("none", url="http://127.0.0.1:9/mcp")], 20.0)
    with closing(source), pytest.raises(OssctlError, match="the MCP server none cannot be reached"):
        source.tools()


def test_ctrl_c_ends_a_start_and_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "GRACE_SECONDS", 0.1)
    source = McpSource([McpServer("old", (*BY_HAND, "mute"))], 20.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with closing(source), ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, before)
        Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            source.tools()
    assert not _running("mute")


def test_servers_end_with_us_and_so_do_their_children() -> None:
    with closing(McpSource([McpServer("old", (*BY_HAND, "parent"))], 20.0)) as source:
        child = int(result_of(source, "old_child"))
        assert psutil.pid_exists(child)
        assert _running("parent")
    assert not _running("parent")
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stubborn", "mute"])
def test_servers_end_even_if_the_program_ends_without_closing_them(kind: str) -> None:
    program = f"""
import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)  # as ossctl does
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.source import McpSource
source = McpSource([McpServer("old", {(*BY_HAND, kind)!r})], 20.0)
print("starting", flush=True)
source.tools()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ours:
        assert ours.stdout is not None
        ours.stdout.readline()
        while not (
            servers := [child for child in psutil.Process(ours.pid).children() if kind in child.cmdline()]
        ):
            sleep(0.05)
        if kind == "mute":
            ours.send_signal(signal.SIGINT)
    assert not servers[0].is_running()


def _running(kind: str) -> bool:
    return any(kind in child.cmdline() for child in psutil.Process().children(recursive=True))


def test_the_values_of_secrets_are_not_shown() -> None:
    server = McpServer("old", (*BY_HAND, "good"), env={"TOY_KEY": "s3cr3t-value"})
    with closing(McpSource([server], 20.0)) as source:
        fault = fault_of(source, "old_end")
    assert fault.endswith("out of cheese, my key is ***")
    assert "s3cr3t" not in repr(server)


@pytest.mark.slow
def test_500_functions_are_offered_only_if_they_are_chosen() -> None:
    server = McpServer("many", (*TOYS, "many"))
    with (
        closing(McpSource([server], 20.0)) as source,
        pytest.raises(UsageError, match="500 functions") as error,
    ):
        source.tools()
    assert "--mcp-tools" in error.value.hint
    with closing(McpSource([server], 20.0, ["*_00?"])) as source:
        assert len(source.tools()) == 10


@pytest.mark.slow
def test_a_flood_and_a_blocked_server_fail_the_call_only() -> None:
    with closing(McpSource([McpServer("toys", (*TOYS, "toys"))], 8.0)) as source:
        assert "sent a message of more than 16 MiB" in fault_of(source, "toys_flood", megabytes=100)
        assert result_of(source, "toys_add", a=1, b=2) == "3"
        assert "did not answer within 8 s" in fault_of(source, "toys_block", seconds=60)
        assert result_of(source, "toys_add", a=1, b=2) == "3"
