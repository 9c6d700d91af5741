"""`ossctl batch` with invalid input: the exit code, a message with a remedy, nothing lost."""

import os
import sys
from pathlib import Path

import pytest
from gguf import GGUFWriter

from ossctl.runtime.gguf import read_header
from tests.support.command import (
    Live,
    Record,
    Result,
    by_id,
    content_of,
    line_of,
    ossctl,
    records_in,
    small_model,
    start,
    write_jsonl,
)
from tests.support.models import smollm2

HI: Record = {"prompt": "Say hi.", "max_tokens": 4, "temperature": 0, "id": "hi"}
COLOUR = {"name": "x", "schema": {"type": "colour"}}

# What a line holds, and what its error has to name.
BAD_LINES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"nonsense", "not valid JSON"),
    "half a line": (b'{"prompt": "Hi', "not valid JSON"),
    "not UTF-8": (b'{"prompt": "\xff"}', "not valid JSON"),
    "too deep": (b"[" * 100_000, "not valid JSON"),
    "half a surrogate pair": (rb'{"prompt": "\ud800"}', "not valid JSON"),
    "an array": (b'["Hi"]', "not a JSON object"),
    "a string": (b'"Hi"', "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "nothing asked": (b"{}", "prompt"),
    "asked twice": (b'{"prompt": "Hi", "messages": []}', "prompt and messages"),
    "a prompt that is a number": (b'{"prompt": 1}', "prompt"),
    "no messages": (b'{"messages": []}', "messages"),
    "an unknown role": (b'{"messages": [{"role": "pope", "content": "Hi"}]}', "messages[0].role"),
    "a message without content": (b'{"messages": [{"role": "user"}]}', "messages[0].content"),
    "an unknown field": (
        b'{"prompt": "Hi", "tempurature": 1}',
        "tempurature is not supported; did you mean temperature?",
    ),
    "an unknown field of a body": (
        b'{"custom_id": "x", "body": {"messages": [], "frobnicate": true}}',
        "body.frobnicate is not supported",
    ),
    "a field that is not supported": (
        b'{"prompt": "Hi", "audio": {"voice": "x"}}',
        "audio is not supported: the model",
    ),
    "a tool that the template has no place for": (
        b'{"prompt": "Hi", "tools": [{"type": "function", "function": {"name": "look_up"}}]}',
        "tools: the model's chat template has none",
    ),
    "an effort": (
        b'{"prompt": "Hi", "reasoning_effort": "low"}',
        "reasoning_effort: the model's chat template has none",
    ),
    "a budget": (
        b'{"prompt": "Hi", "max_reasoning_tokens": 5}',
        "max_reasoning_tokens: the model's chat template",
    ),
    "a result without a call": (
        b'{"messages": [{"role": "tool", "tool_call_id": "a", "content": "Hi"}]}',
        "messages[0].tool_call_id",
    ),
    "a format without a schema": (
        b'{"prompt": "Hi", "response_format": {"type": "json_schema"}}',
        "response_format.json_schema is missing",
    ),
    "a schema that cannot be enforced": (
        line_of({"prompt": "Hi", "response_format": {"type": "json_schema", "json_schema": COLOUR}}).strip(),
        "response_format.json_schema.schema: ",
    ),
    "a day that does not exist": (b'{"prompt": "Hi", "date": "2026-02-30"}', "date: "),
    "another endpoint": (b'{"custom_id": "y", "url": "/v1/embeddings", "body": {"messages": []}}', "url"),
    "a body without an id": (b'{"body": {"messages": []}}', "custom_id is missing"),
    "max_tokens 0": (b'{"prompt": "Hi", "max_tokens": 0}', "max_tokens is 0"),
    "max_tokens -1": (b'{"prompt": "Hi", "max_tokens": -1}', "max_tokens is -1"),
    "max_tokens a string": (b'{"prompt": "Hi", "max_tokens": "8"}', "max_tokens: expected int"),
    "max_tokens a fraction": (b'{"prompt": "Hi", "max_tokens": 1.5}', "max_tokens: expected int"),
    "a temperature below 0": (b'{"prompt": "Hi", "temperature": -1}', "temperature is -1"),
    "a seed below 0": (b'{"prompt": "Hi", "seed": -2}', "seed is -2"),
    "no answers": (b'{"prompt": "Hi", "n": 0}', "n is 0"),
    "an empty id": (b'{"prompt": "Hi", "id": ""}', "the id is empty"),
    "an empty stop string": (b'{"prompt": "Hi", "stop": ["x", ""]}', "stop"),
    "a bias for no token": (b'{"prompt": "Hi", "logit_bias": {"one": 1}}', "logit_bias"),
    "a bias that no float32 holds": (b'{"prompt": "Hi", "logit_bias": {"5": 1e39}}', "logit_bias"),
    "a bias for an unknown token": (b'{"prompt": "Hi", "logit_bias": {"-1": 1}}', "logit_bias"),
}


@pytest.fixture(scope="module")
def bad_lines(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Every bad line between two good ones."""
    folder = tmp_path_factory.mktemp("bad")
    lines = [line_of({**HI, "id": "first"}), *(line + b"\n" for line, _ in BAD_LINES.values())]
    stdin = b"".join([*lines, line_of({**HI, "id": "last"})])
    return ossctl("batch", "-", *small_model(), cwd=folder, stdin=stdin)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "in.jsonl", HI)


def test_among_bad_lines_the_good_ones_are_answered(bad_lines: Result) -> None:
    assert bad_lines.code == 3
    assert len(bad_lines.records) == len(BAD_LINES) + 2
    answered = [record for record in bad_lines.records if record["error"] is None]
    assert sorted(by_id(answered)) == ["first", "last"]
    assert len({content_of(record) for record in answered}) == 1


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_an_error_record_with_its_number_and_the_reason(bad_lines: Result, kind: str) -> None:
    number = list(BAD_LINES).index(kind) + 2
    (record,) = [r for r in bad_lines.records if r["error"] and r["error"]["line"] == number]
    assert record["response"] is None
    assert record["error"]["code"] == "invalid_request"
    assert record["error"]["message"].startswith(f"line {number}: ")
    assert BAD_LINES[kind][1] in record["error"]["message"]


def test_bad_lines_leave_the_summary_and_the_most_common_errors_on_stderr(bad_lines: Result) -> None:
    summary, *errors = bad_lines.said
    assert summary.startswith(f"2 done, {len(BAD_LINES)} failed · ")
    assert len(errors) == 4
    assert all(" failed" in line for line in errors)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_line_of_50_mb_fails_alone_and_is_not_held_in_memory(tmp_path: Path) -> None:
    n_bytes = 50_000_000
    with start("batch", "-", *small_model(), cwd=tmp_path) as batch:
        batch.ask({**HI, "id": "before"})
        peak = _peak_bytes(batch)
        batch.write(b'{"prompt": "' + b"x" * n_bytes + b'"}\n')
        record = batch.next_record()
        batch.ask({**HI, "id": "after"})
        grown = _peak_bytes(batch) - peak
        result = batch.finish()
    assert result.code == 3
    assert (record["custom_id"], record["error"]["line"]) == ("line-2", 2)
    assert "50,000,01" in record["error"]["message"]
    assert grown < n_bytes


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no model file at"),
        ("text", "is not a GGUF file"),
        ("folder", "is a directory"),
        ("cut in its tensors", "is incomplete"),
        ("cut in its header", "is damaged"),
    ],
)
def test_a_model_that_cannot_be_read_is_exit_code_4(
    tmp_path: Path, source: Path, kind: str, said: str
) -> None:
    model = tmp_path / "model.gguf"
    if kind == "text":
        model.write_text("This is not a model.\n" * 100, "utf-8")
    elif kind == "folder":
        model.mkdir()
    elif kind != "missing":
        tensors = min(tensor.offset for tensor in read_header(smollm2()).tensors)
        _copy_beginning(smollm2(), model, tensors // 2 if "header" in kind else tensors + 2_000_000)
    result = ossctl("batch", source, "-m", model, cwd=tmp_path)
    _assert_refused(result, 4, said)
    assert str(model) in result.stderr


def test_a_model_of_an_unknown_architecture_is_exit_code_4_and_named(tmp_path: Path, source: Path) -> None:
    model = tmp_path / "model.gguf"
    writer = GGUFWriter(str(model), "martian")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    result = ossctl("batch", source, "-m", model, cwd=tmp_path)
    _assert_refused(result, 4, "'martian'")


def test_a_model_without_a_chat_template_is_exit_code_4(tmp_path: Path, source: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(smollm2().read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_tempest!"))
    result = ossctl("batch", source, "-m", model, cwd=tmp_path)
    _assert_refused(result, 4, "no chat template")


def test_a_model_that_fails_to_load_leaves_the_output_to_overwrite_as_it_was(
    tmp_path: Path, source: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("precious\n", "utf-8")
    result = ossctl("batch", source, "-o", output, "--overwrite", "-m", "no.gguf", cwd=tmp_path)
    _assert_refused(result, 4, "no.gguf")
    assert output.read_text("utf-8") == "precious\n"


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "blank"])
def test_an_input_that_cannot_be_used_is_exit_code_2(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "in.jsonl"
    if kind == "folder":
        source.mkdir()
    elif kind != "missing":
        source.write_text("" if kind == "empty" else "\n  \n\t\r\n\n", "utf-8")
    result = ossctl("batch", source, "-o", "out.jsonl", *small_model(), cwd=tmp_path)
    _assert_refused(result, 2, str(source))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("stdin", [b"", b"\n \n"])
def test_a_stdin_without_requests_is_exit_code_2(tmp_path: Path, stdin: bytes) -> None:
    result = ossctl("batch", "-", *small_model(), cwd=tmp_path, stdin=stdin)
    _assert_refused(result, 2, "no requests")


def test_a_stdin_without_requests_leaves_no_output_behind(tmp_path: Path) -> None:
    ossctl("batch", "-", "-o", "out.jsonl", *small_model(), cwd=tmp_path)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1.5", ""])
def test_an_invalid_ctx_is_exit_code_2(tmp_path: Path, source: Path, value: str) -> None:
    result = ossctl("batch", source, "-m", smollm2(), "--ctx", value, cwd=tmp_path)
    _assert_wrong_usage(result, "--ctx")


@pytest.mark.parametrize("value", ["0", "-1", "abc", "257"])
def test_a_parallel_outside_1_to_256_is_exit_code_2(tmp_path: Path, source: Path, value: str) -> None:
    result = ossctl("batch", source, "-m", smollm2(), "--parallel", value, cwd=tmp_path)
    _assert_wrong_usage(result, "--parallel")


def test_a_wrong_number_in_the_environment_names_its_variable(tmp_path: Path, source: Path) -> None:
    result = ossctl("batch", source, "-m", smollm2(), cwd=tmp_path, OSSCTL_CTX="many")
    _assert_wrong_usage(result, "OSSCTL_CTX")


def test_an_output_in_a_missing_folder_is_exit_code_2(tmp_path: Path, source: Path) -> None:
    result = ossctl("batch", source, "-o", "no/such/out.jsonl", *small_model(), cwd=tmp_path)
    _assert_refused(result, 2, str(Path("no/such")))


def test_an_output_that_is_a_folder_is_exit_code_2(tmp_path: Path, source: Path) -> None:
    result = ossctl("batch", source, "-o", tmp_path, "--overwrite", *small_model(), cwd=tmp_path)
    _assert_refused(result, 2, "is a directory")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "home", source]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_in_a_folder_without_permission_is_exit_code_2(tmp_path: Path, source: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    result = ossctl("batch", source, "-o", "locked/out.jsonl", *small_model(), cwd=tmp_path)
    _assert_refused(result, 2, "Permission denied")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_is_reported_without_a_traceback(tmp_path: Path, source: Path) -> None:
    arguments = ["batch", source, "-o", "/dev/full", "--overwrite"]
    result = ossctl(*arguments, *small_model(), cwd=tmp_path)
    _assert_refused(result, 1, "No space left on device")


def _assert_refused(result: Result, code: int, named: str) -> None:
    """The run ended with `code` before any answer, and said why in at most two lines."""
    assert result.code == code
    assert named in result.stderr
    assert result.said[0].startswith("ossctl: ")
    assert len(result.said) <= 2
    assert "Traceback" not in result.stderr
    assert records_in(result.stdout) == []


def _assert_wrong_usage(result: Result, option: str) -> None:
    """Typer refused the arguments and named the option."""
    assert result.code == 2
    assert option in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def _copy_beginning(source: Path, target: Path, n_bytes: int) -> None:
    with source.open("rb") as file:
        target.write_bytes(file.read(n_bytes))


def _peak_bytes(batch: Live) -> int:
    """The most memory that the process has had so far."""
    status = Path(f"/proc/{batch.process.pid}/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
