"""What llama-bench reports, and what happens without it."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ossctl.app.bench.estimate import mean_of
from ossctl.app.bench.llama_bench import with_llama_bench
from ossctl.app.bench.results import Row, Speeds
from ossctl.app.inference.interrupt import Interrupt
from ossctl.planning.settings import LoadMode, Settings
from ossctl.planning.shape import KvType

SETTINGS = Settings(
    (), (), (), 256, 1, unified=False, batch=64, ubatch=32, kv_type=KvType.F16, threads=3,
    load_mode=LoadMode.MMAP, repack=True,
)  # fmt: skip
ONE = mean_of([1.0])
SPEEDS = Speeds(ossctl=ONE, llama_cpp=ONE, ratio=ONE, cpu_ratio=ONE)
ROW = Row(sequences=1, prompt_tokens=100, generated_tokens=8, prefill=SPEEDS, generation=SPEEDS)


def stand_in(folder: Path, answer: str) -> None:
    """A program that notes its arguments and prints `answer`."""
    program = folder / "llama-bench"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"open({str(folder / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\nprint({answer!r})\n"
    )
    program.chmod(0o755)


def test_without_the_program_the_rows_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert with_llama_bench(Path("model.gguf"), SETTINGS, [ROW], 3, Interrupt()) == [ROW]


def test_its_repetitions_become_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, json.dumps([{"n_prompt": 100, "samples_ts": [99.0, 100.0, 101.0]}]))
    monkeypatch.setenv("PATH", str(tmp_path))
    [row] = with_llama_bench(Path("model.gguf"), SETTINGS, [ROW], 3, Interrupt())
    assert row.prefill.llama_bench is not None
    assert row.prefill.llama_bench.rounds == 3
    assert row.generation.llama_bench is not None
    prefill, generation = (tmp_path / "asked").read_text().splitlines()
    common = "-m model.gguf -t 3 -b 64 -ub 32 -ctk f16 -ctv f16 -fa 1 -ngl 0 -dev none -r 3 -o json"
    assert prefill == f"{common} -p 100 -n 0"
    assert generation == f"{common} -p 0 -n 8 -d 100"


@pytest.mark.parametrize("answer", ["", "{}", "[]", '[{"samples_ts": null}]', '[{"avg_ts": 1}]'])
def test_an_answer_that_makes_no_sense_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    stand_in(tmp_path, answer)
    monkeypatch.setenv("PATH", str(tmp_path))
    [row] = with_llama_bench(Path("model.gguf"), SETTINGS, [ROW], 1, Interrupt())
    assert row.prefill.llama_bench is None


def test_layers_and_experts_are_placed_as_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    placed = replace(SETTINGS, devices=("GPU8", "GPU9"), device_layers=(3, 4), experts_in_ram=(2, 5))
    with_llama_bench(Path("model.gguf"), placed, [ROW], 1, Interrupt())
    asked = (tmp_path / "asked").read_text()
    assert r" -ngl 7 -ts 3/4 -ot blk\.(2|5)\.ffn_(up|down|gate|gate_up)_exps=CPU " in asked


def test_a_signal_kills_it_and_starts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "")
    with (tmp_path / "llama-bench").open("a") as program:
        program.write(f"import os, signal, time\nos.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(60)\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with Interrupt() as interrupt:
        assert with_llama_bench(Path("model.gguf"), SETTINGS, [ROW, ROW], 1, interrupt) == [ROW, ROW]
    assert interrupt.signum == signal.SIGINT
    assert len((tmp_path / "asked").read_text().splitlines()) == 1
