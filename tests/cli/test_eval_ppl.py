"""`ossctl eval ppl`: what it prints, and what it refuses."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import Result, ossctl, start
from tests.support.models import smollm2

CPU = ("--threads", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"Line {n} of a text about {'xyz'[n % 3]} and {n * n}.\n" for n in range(40)))
    return path


def ppl(folder: Path, *arguments: object, stdin: bytes = b"", **variables: str) -> Result:
    return ossctl("eval", "ppl", *arguments, *CPU, cwd=folder, stdin=stdin, **variables)


def test_a_perplexity_is_printed_with_its_error(tmp_path: Path, text: Path, byte_model_path: Path) -> None:
    result = ppl(tmp_path, text, "-m", byte_model_path, "--ctx", 64, OSSCTL_CTX="max")
    assert result.code == 0, result.stderr
    lines = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert lines.keys() == {"model", "text", "tokens", "time", "perplexity"}
    assert lines["model"].strip() == "bytes.gguf"
    assert " ± " in lines["perplexity"]
    assert result.said == [f"Loading {byte_model_path} …"]


def test_several_models_are_a_table_and_a_model_is_at_no_distance_from_itself(
    tmp_path: Path, text: Path, byte_model_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(byte_model_path.read_bytes())
    models = f"{byte_model_path},{other}"
    data = text.read_bytes()
    result = ppl(tmp_path, "-", "-m", models, "--against", other, "--ctx", 64, "--chunks", 4, stdin=data)
    assert result.code == 0, result.stderr
    header, base, *rows = result.stdout.splitlines()
    assert header.split("  ")[0] == "model"
    columns = "GB perplexity ratio KL divergence 99 % RMS Δp same top token tokens/s"
    assert " ".join(header.split()[1:]) == columns
    assert base.startswith("other.gguf")
    assert [row.split()[0] for row in rows] == ["bytes.gguf", "other.gguf"]
    assert all("1.0000 ± 0.0000" in row and "100.00 ± 0.00 %" in row for row in rows)


def test_json_has_all_figures(tmp_path: Path, text: Path, byte_model_path: Path) -> None:
    arguments = ("-m", byte_model_path, "--against", byte_model_path, "--ctx", 64, "--chunks", 3, "--json")
    result = ppl(tmp_path, text, *arguments)
    assert result.code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["schema"], record["ctx"], record["complete"]) == ("ossctl.perplexity/1", 64, True)
    (found,) = record["results"]
    assert (found["chunks"], found["tokens"]) == (3, 93)
    assert found["perplexity"]["value"] == pytest.approx(record["base"]["perplexity"]["value"], rel=1e-6)
    assert found["divergence"]["kl_divergence"]["value"] == pytest.approx(0, abs=1e-4)
    assert found["divergence"]["same_top"]["value"] == 1
    assert {"50", "99.9", "100"} <= found["divergence"]["kl_percentiles"].keys()


def test_what_cannot_be_measured_is_refused_in_a_line_or_two(
    tmp_path: Path, text: Path, byte_model_path: Path
) -> None:
    def refusal(source: object, *arguments: object, stdin: bytes = b"") -> tuple[int, str]:
        result = ppl(tmp_path, source, "-q", *(arguments or ("-m", byte_model_path)), stdin=stdin)
        assert result.stdout == ""
        return result.code, " ".join(result.said)

    short = text.read_bytes()[:900]
    wanted = "ossctl: standard input has 900 tokens, but a context of 512 needs at least 1,024 "
    assert refusal("-", stdin=short) == (2, f"{wanted}Use a longer text, or a smaller --ctx.")
    binary = "ossctl: cannot read standard input: it is not UTF-8 text, byte 0xff at offset 900 "
    assert refusal("-", stdin=short + b"\xff") == (2, f"{binary}Convert it first, for example with iconv.")
    code, said = refusal(text, "-m", byte_model_path, "--against", smollm2())
    assert (code, "a different vocabulary from" in said) == (2, True)
    assert refusal(text, "-m", f"{byte_model_path},{byte_model_path}")[0] == 2
    assert refusal(text, "-m", byte_model_path, "--ctx", 4) == (
        2,
        "ossctl: --ctx 4 is too small to measure perplexity Use 8 or more.",
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_prints_what_is_complete(tmp_path: Path, text: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(text.read_text() * 60)
    arguments = ("-m", smollm2(), "--against", smollm2(), "--json", *CPU)
    with start("eval", "ppl", path, *arguments, cwd=tmp_path) as run:
        time.sleep(8)
        run.process.send_signal(signal.SIGINT)
        result = run.finish()
    assert result.code == 130
    record = json.loads(result.stdout)
    assert record["complete"] is False
    assert record["base"]["chunks"] > 0
    assert result.said[-2:] == [
        "ossctl: interrupted",
        "The results are those of the chunks that were complete.",
    ]
    assert [*(tmp_path / "home" / "cache").iterdir()] == []
