"""An option has its effect or is refused."""

import json
from pathlib import Path

import pytest

from ossctl.app.library.resolve import has_nano
from tests.support.command import ossctl, write_jsonl

NANO = ("-q", "-m", "nano", "-t", 0, "--threads", 1)
QUESTION = "What is the capital of Norway?"

needs_nano = pytest.mark.skipif(not has_nano(), reason="nano is not made yet: make nano")


def configure(folder: Path, text: str) -> None:
    file = folder / "home" / "config" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


@needs_nano
def test_the_reasoning_of_each_of_several_answers_is_shown(tmp_path: Path) -> None:
    asked = ("run", *NANO, "--n", 2, "--json", "--show-reasoning", QUESTION)
    result = ossctl(*asked, cwd=tmp_path)
    reasonings = [answer["reasoning"] for answer in json.loads(result.stdout)["answers"]]
    assert all(reasonings)
    assert result.stderr.endswith("\n---\n".join(reasonings) + "\n")


@pytest.mark.parametrize("preset", [("-P", "nope"), ("-qP", "nope"), ("-qPnope",), ("--preset=nope",)])
def test_a_preset_without_a_config_file_is_an_error(preset: tuple[str, ...], tmp_path: Path) -> None:
    result = ossctl("run", *preset, "-m", "nano", QUESTION, cwd=tmp_path)
    assert (result.code, result.said[0]) == (2, "ossctl: there is no preset nope")


@needs_nano
@pytest.mark.parametrize(("arguments", "count"), [((), 1), (("list",), 1), (("-n", 2), 2)])
def test_the_section_of_log_list_counts_without_its_name(
    arguments: tuple[object, ...], count: int, tmp_path: Path
) -> None:
    for _ in range(2):
        assert ossctl("run", *NANO, "--log", QUESTION, cwd=tmp_path).code == 0
    configure(tmp_path, "[log.list]\nlimit = 1\n")
    result = ossctl("log", *arguments, "--json", cwd=tmp_path)
    assert len(json.loads(result.stdout)["runs"]) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--var", "a=1", "hi"), "--var needs --prompt"),
        (("run", "--serve-stdin", "--var", "a=1"), "--var needs --prompt"),
        (("batch", "in.jsonl", "--var", "a=1"), "--var needs --prompt"),
        (("run", "--schema-retries", 3, "hi"), "--schema-retries needs --schema"),
    ],
)
@pytest.mark.parametrize("config", ["", "[run]\nseed = 1\n"])
def test_an_option_without_the_one_that_it_is_for_is_refused(
    arguments: tuple[object, ...], message: str, config: str, tmp_path: Path
) -> None:
    configure(tmp_path, config)
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "hi"})
    result = ossctl(*arguments, "-m", "nano", cwd=tmp_path)
    assert (result.code, result.said[0]) == (2, f"ossctl: {message}")


@needs_nano
@pytest.mark.parametrize("preset", [(), ("-P", "p")])
def test_such_an_option_may_be_in_a_config_file_or_a_preset(preset: tuple[str, ...], tmp_path: Path) -> None:
    configure(
        tmp_path,
        "[run]\nvar = {a = 1}\nschema-retries = 3\n[preset.p]\nvar = {b = 2}\nschema-retries = 4\n",
    )
    result = ossctl("run", *NANO, *preset, QUESTION, cwd=tmp_path)
    assert (result.code, result.stdout) == (0, "The capital of Norway is Oslo.\n")
