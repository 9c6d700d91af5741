"""`ossctl run --serve-stdin`: requests in, events out, the model loaded once."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.command import Live, Result, command, environment, line_of, ossctl, start
from tests.support.models import smollm2
from tests.support.programs import with_ossctl

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMA = json.loads((EXAMPLES / "serve-stdin.schema.json").read_text("utf-8"))
OUTPUT = jsonschema.Draft202012Validator({**SCHEMA, "$ref": "#/$defs/output", "oneOf": [{}]})
SERVE = ("run", "--serve-stdin", "--no-cache", "-m", smollm2(), "--threads", 1, "--ctx", 512, "--parallel", 4)

Event = dict[str, Any]


def checked(line: bytes | str) -> Event:
    """An event, which has to be one of the schema's."""
    event = json.loads(line)
    OUTPUT.validate(event)
    return dict(event)


def served(folder: Path, *lines: object) -> tuple[Event, dict[str, list[Event]], Result]:
    """The first event, those of each request, and all that the process left."""
    data = b"".join(line if isinstance(line, bytes) else line_of(line) for line in lines)
    result = ossctl(*SERVE, cwd=folder, stdin=data)
    ready, *events = map(checked, result.stdout.splitlines())
    by_id: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_id[event["id"]].append(event)
    return ready, by_id, result


def next_event(server: Live) -> Event:
    assert server.process.stdout is not None
    return checked(server.process.stdout.readline())


def test_several_requests_are_answered_as_if_alone(tmp_path: Path) -> None:
    asked = {
        name: {"prompt": f"Name a {name}.", "max_tokens": 12, "temperature": 0} for name in ("cat", "city")
    }
    ready, events, result = served(tmp_path, *({"id": name, **body} for name, body in asked.items()))
    assert (result.code, result.stderr) == (0, "")
    assert ready["ready"] == {"model": ready["ready"]["model"], "parallel": 4, "context": 512}
    for name, body in asked.items():
        *deltas, last = events[name]
        assert "".join(delta["delta"]["answer"] for delta in deltas) == last["done"]["answer"]
        _, alone, _ = served(tmp_path, {"id": name, **body})
        assert alone[name][-1]["done"]["answer"] == last["done"]["answer"]


def test_a_request_can_do_without_deltas(tmp_path: Path) -> None:
    _, events, _ = served(tmp_path, {"id": 7, "prompt": "Hi", "max_tokens": 5, "stream": False})
    assert [set(event) for event in events["7"]] == [{"id", "done"}]


def test_options_apply_to_requests_that_set_nothing(tmp_path: Path) -> None:
    lines = line_of({"id": "a", "prompt": "Hi"}) + line_of(
        {"id": "b", "prompt": "Hi", "max_tokens": 2, "seed": 9}
    )
    result = ossctl(*SERVE, "-n", 3, "--seed", 100, cwd=tmp_path, stdin=lines)
    done = {
        event["id"]: event["done"] for event in map(checked, result.stdout.splitlines()) if "done" in event
    }
    assert {name: (of["usage"]["completion_tokens"], of["seed"]) for name, of in done.items()} == {
        "a": (3, 101),
        "b": (2, 9),
    }


def test_malformed_lines_are_errors_with_their_number_and_the_stream_continues(tmp_path: Path) -> None:
    _, events, result = served(
        tmp_path,
        b"no json\n",
        b"\n",
        {"id": "a", "prompt": "Hi", "nope": 1},
        {"id": "b", "prompt": "word " * 600},
        {"id": "c", "prompt": "Hi", "stream": 1},
        {"cancel": "x", "id": "d"},
        b'{"id": "\xff"}\n',
        {"id": "e", "prompt": "Hi", "max_tokens": 2},
        {"id": "e", "prompt": "Hi", "max_tokens": 2},
    )
    assert result.code == 0
    errors = {name: [e["error"] for e in of if "error" in e] for name, of in events.items()}
    assert errors["line-1"][0]["line"] == 1
    assert "not valid JSON" in errors["line-1"][0]["message"]
    assert errors["a"] == [{"code": "invalid_request", "message": "nope is not supported", "line": 3}]
    assert errors["b"][0]["code"] == "context_length_exceeded"
    assert errors["c"][0]["message"] == "stream must be true or false"
    assert errors["d"][0]["message"] == "a line with cancel must have no other fields"
    assert "not UTF-8" in errors["line-7"][0]["message"]
    assert [e["message"] for e in errors["e"]] == ["id: 'e' is still being answered"]
    assert events["e"][-1]["done"]["finish_reason"] == "length"


def test_a_format_that_was_cut_says_so_and_one_that_a_stop_string_ended_is_an_error(tmp_path: Path) -> None:
    body = {
        "prompt": "Name a colour.",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "c", "schema": {"type": "object", "required": ["colour", "shade"]}},
        },
        "stream": False,
    }
    _, events, _ = served(
        tmp_path,
        {"id": "cut", **body, "max_tokens": 3},
        {"id": "stopped", **body, "stop": ['":'], "max_tokens": 100},
    )
    (cut,) = events["cut"]
    assert cut["done"]["finish_reason"] == "length"
    assert cut["done"]["answer"].startswith("{")  # what there is of it
    (stopped,) = events["stopped"]
    assert stopped["error"] == {
        "code": "schema_unsatisfied",
        "message": "the answer reached a stop string before its JSON was complete",
    }


def test_a_request_can_be_cancelled_and_keeps_its_answer_so_far(tmp_path: Path) -> None:
    with start(*SERVE, cwd=tmp_path) as server:
        assert "ready" in next_event(server)
        server.send({"id": "long", "prompt": "Count to one thousand.", "logit_bias": {"2": -100}})
        said = next_event(server)["delta"]["answer"]
        server.send({"cancel": "long"})
        while "done" not in (event := next_event(server)):
            said += event["delta"]["answer"]
        assert event["done"]["finish_reason"] == "cancelled"
        assert event["done"]["answer"] == said
        server.send({"id": "long", "prompt": "Hi", "max_tokens": 2, "stream": False})
        assert next_event(server)["done"]["finish_reason"] == "length"
        assert server.finish().code == 0


def test_running_requests_finish_after_the_end_of_the_input(tmp_path: Path) -> None:
    with start(*SERVE, cwd=tmp_path) as server:
        next_event(server)
        server.send({"id": "a", "prompt": "Tell me a story.", "max_tokens": 60, "logit_bias": {"2": -100}})
        next_event(server)
        result = server.finish()
    assert result.code == 0
    assert json.loads(result.stdout.splitlines()[-1])["done"]["usage"]["completion_tokens"] == 60


@pytest.mark.skipif(sys.platform != "linux", reason="a terminal that hangs up is a read error")
def test_a_broken_input_is_exit_code_2_after_earlier_requests_are_answered(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command(*SERVE),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        os.write(ours, line_of({"id": "a", "prompt": "Hi", "max_tokens": 30, "logit_bias": {"2": -100}}))
        assert checked(process.stdout.readline())["id"] == "a"
        os.close(ours)
        out, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert checked(out.splitlines()[-1])["done"]["usage"]["completion_tokens"] == 30
    assert b"cannot read the rest of the input" in said


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_leaves_complete_lines(tmp_path: Path) -> None:
    with start(*SERVE, cwd=tmp_path) as server:
        next_event(server)
        server.send({"id": "a", "prompt": "Tell me a story.", "logit_bias": {"2": -100}})
        next_event(server)
        server.process.send_signal(signal.SIGINT)
        result = server.finish()
    assert result.code == 130
    assert result.said == ["ossctl: interrupted"]
    assert all(map(checked, result.stdout.splitlines()))


def test_a_client_that_closes_the_pipe_ends_the_server_quietly(tmp_path: Path) -> None:
    with start(*SERVE, cwd=tmp_path) as server:
        next_event(server)
        server.close_output()
        server.process.stdout = None
        server.send({"id": "a", "prompt": "Hi", "max_tokens": 4})
        result = server.finish()
    assert (result.code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hello",), "a prompt cannot be used with --serve-stdin"),
        (("--schema", "{}"), "--schema cannot be used with --serve-stdin"),
        (("-o", "x"), "--output cannot be used with --serve-stdin"),
        (("--json",), "--json and --extract have no meaning with --serve-stdin"),
    ],
)
def test_options_that_belong_to_each_request_are_refused(
    tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    result = ossctl(*SERVE, *arguments, cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert result.said[0] == f"ossctl: {message}"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for ossctl")
def test_the_example_client_in_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "serve_client.py", smollm2(), "Say hi.", "Name a cat."],
        env=with_ossctl(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert {line.partition(" -> ")[0] for line in done.stdout.splitlines() if " -> " in line} == {
        "Say hi.",
        "Name a cat.",
    }


@pytest.mark.skipif(
    shutil.which("jq") is None or shutil.which("bash") is None, reason="jq or bash is missing"
)
def test_the_example_client_in_shell(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", EXAMPLES / "serve_client.sh", smollm2()],
        env=with_ossctl(tmp_path),
        input="Say hi.\nName a cat.\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert {line[:2] for line in done.stdout.splitlines() if line[1:2] == ":"} == {"1:", "2:"}
