"""`ossctl bench`: what it refuses, what it prints, and what Ctrl-C leaves."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support.command import ossctl, start
from tests.support.models import smollm2

CPU = ("--threads", 1, "--device", "cpu")


def test_a_file_to_compare_with_is_read_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "before.json").write_text('{"schema": "ossctl.plan/1"}')
    result = ossctl("bench", "nano", "--compare", "before.json", cwd=tmp_path)
    assert result.code == 2
    assert result.said[0].startswith("ossctl: before.json is not a benchmark: ")
    assert result.said[1] == "--compare takes the output of `ossctl bench --json`."
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/speeds.svg", "cannot write no/speeds.svg: there is no folder no"),
        (".", ". is a directory"),
        ("-", "--svg - is standard output"),
    ],
)
def test_the_place_of_a_picture_is_checked_before_anything_is_measured(
    tmp_path: Path, path: str, message: str
) -> None:
    result = ossctl("bench", "nano", "--svg", path, cwd=tmp_path)
    assert (result.code, result.said[0]) == (2, f"ossctl: {message}")


@pytest.mark.slow
def test_a_benchmark_prints_tables_and_a_comparison_with_itself(tmp_path: Path) -> None:
    document = ossctl("bench", "nano", *CPU, "--json", cwd=tmp_path)
    assert document.code == 0, document.stderr
    record = json.loads(document.stdout)
    assert record["schema"] == "ossctl.bench/1"
    assert record["complete"]
    assert {wait["what"] for wait in record["waits"]} == {
        "startup",
        "cold",
        "warm",
    }  # nano takes no second for its context
    (tmp_path / "before.json").write_text(document.stdout)
    result = ossctl("bench", "nano", *CPU, "--compare", "before.json", "--svg", "b.svg", cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert "prefill, tokens/s" in result.stdout
    assert f"compared with {record['date']}" in result.stdout
    assert (tmp_path / "b.svg").read_text().startswith("<svg")


@pytest.mark.slow
def test_ctrl_c_prints_what_is_measured(tmp_path: Path) -> None:
    with start("bench", smollm2(), *CPU, "--json", cwd=tmp_path) as running:
        time.sleep(15)
        running.process.send_signal(signal.SIGINT)
        result = running.finish()
    assert result.code == 130
    record = json.loads(result.stdout)
    assert not record["complete"]
    assert record["lengths"]
    assert record["waits"] == []
