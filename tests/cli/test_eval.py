"""`ossctl eval`: what is asked, kept, continued and shown, with nano."""

import json
import os
import random
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.library.resolve import has_nano
from ossctl.cli.completion import complete_task
from ossctl.cli.main import app
from ossctl.errors import OssctlError
from tests.support.command import Result, environment, start

pytestmark = [
    pytest.mark.skipif(not has_nano(), reason="nano is not made yet: make nano"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Inspect's own
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # streams it leaves open
]

NANO = ("-m", "nano", "--threads", 1, "--ctx", 512, "--parallel", 4, "-n", 90, "-T", "template={question}")
SAME = (*NANO, "--deterministic")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the test is where users are and what they own."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def evaluate(capfd: pytest.CaptureFixture[str]) -> Any:
    """`ossctl eval` in this process, which has Inspect: importing it takes seconds."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        try:
            code = app(["eval", *map(str, arguments)], standalone_mode=False) or 0
        except OssctlError as error:
            out, err = capfd.readouterr()
            return Result(int(error.exit_code), out, f"{err}{error.message}\n{error.hint}")
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


def sums(folder: Path, count: int = 4, name: str = "sums.jsonl") -> str:
    lines = [{"question": f"What is {n + 11} plus {2 * n + 5}?", "answer": 3 * n + 16} for n in range(count)]
    (folder / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return name


def samples(folder: Path) -> list[dict[str, Any]]:
    """All samples of an evaluation without their times."""
    results = json.loads((folder / "results.json").read_text("utf-8"))["results"]
    return [
        {name: value for name, value in sample.items() if name != "seconds"}
        for result in results
        for sample in result["samples"]
    ]


def test_own_questions_are_asked_with_every_effort_and_kept_in_a_folder(
    tmp_path: Path, evaluate: Any
) -> None:
    result = evaluate(sums(tmp_path), *NANO, "-t", 0, "-e", "low,high", "--repeats", 2, "-o", "out")
    assert result.code == 0, result.stderr
    assert result.stdout.startswith("Scores\n")
    assert "A published comparison, checked" in result.stdout
    assert "Results: out" in result.said
    assert [line.partition(":")[0] for line in result.said if " answers · " in line] == [
        "sums · nano · low",
        "sums · nano · high",
    ]
    names = {path.name for path in (tmp_path / "out").iterdir()} - {".lock"}
    assert names == {"eval.json", "logs", "results.json", "results.csv", "report.md", "report.html"}
    assert len(samples(tmp_path / "out")) == 16
    assert {sample["outcome"] for sample in samples(tmp_path / "out")[:8]} == {"correct"}
    assert {path.parts[-2] for path in tmp_path.rglob("*.eval")} == {"logs"}
    assert not (tmp_path / "data").exists()  # Inspect's own folder


def test_the_page_of_a_finished_evaluation_is_printed_without_a_model(tmp_path: Path, evaluate: Any) -> None:
    evaluate(sums(tmp_path, 2), *NANO, "-t", 0, "-o", "out", "--json", "-q")
    (tmp_path / "sums.jsonl").unlink()
    again = evaluate("--resume", "out", "--csv", "-q")
    assert again.code == 0
    assert [line.split(",")[:2] for line in again.stdout.splitlines()] == [
        ["task", "model"],
        ["sums", "nano"],
    ]
    page = evaluate("--resume=out", "--html", "-q")
    assert page.stdout.startswith("<!doctype html>")


def test_json_is_one_document_with_the_summary_first(tmp_path: Path, evaluate: Any) -> None:
    result = evaluate(sums(tmp_path), *NANO, "--sample", 2, "--seed", 3, "-o", "out", "--json", "-q")
    document = json.loads(result.stdout)
    assert list(document)[:2] == ["schema", "summary"]
    assert document["summary"][0]["questions"] == 2
    assert document["results"][0]["set_size"] == 4
    assert document["results"][0]["setting"]["seed"] == 3
    same = evaluate(sums(tmp_path), *NANO, "--sample", 2, "--seed", 3, "-o", "same", "-q")
    assert same.code == 0
    assert samples(tmp_path / "same") == samples(tmp_path / "out")


def test_a_failing_question_is_shown_and_the_others_are_answered(tmp_path: Path, evaluate: Any) -> None:
    lines = [
        {"id": "long", "question": "x " * 600, "answer": 1},
        {"id": "judged", "question": "What is 1 plus 2?", "answer": 3, "grader": "program"},
        {"id": "fine", "question": "What is 47 plus 38?", "answer": 85, "grader": "number"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    result = evaluate("in.jsonl", *NANO, "-t", 0, "-T", "program=no-such-program", "-o", "out")
    assert result.code == 3
    outcomes = {sample["id"]: sample["outcome"] for sample in samples(tmp_path / "out")}
    assert outcomes == {"long": "truncated", "judged": "failed", "fine": "correct"}
    assert any(line.startswith("in · nano · medium: question judged failed: ") for line in result.said)


def test_a_judge_that_gives_no_verdict_has_failed(tmp_path: Path, evaluate: Any) -> None:
    (tmp_path / "in.jsonl").write_text(
        '{"question":"What is 47 plus 38?","answer":85,"grader":"model"}', "utf-8"
    )
    result = evaluate("in.jsonl", *NANO, "--judge", "nano", "-o", "out")
    (sample,) = samples(tmp_path / "out")
    assert (result.code, sample["outcome"]) == (3, "failed")
    assert sample["error"].startswith("the judge gave no verdict: ")
    assert "85" in sample["given"]


def test_python_is_offered_to_the_model_and_named_in_the_setting(tmp_path: Path, evaluate: Any) -> None:
    assert (
        evaluate(sums(tmp_path, 1), *NANO, "--ctx", 1024, "--python-in", "monty", "-o", "out", "-q").code == 0
    )
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["results"]
    assert result["setting"]["python"] is True
    evaluate(sums(tmp_path, 1), *NANO, "-o", "plain", "-q")
    (plain,) = samples(tmp_path / "plain")
    assert result["samples"][0]["prompt_tokens"] > plain["prompt_tokens"]


TASK_FILE = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, solver


@solver
def fragile():
    async def solve(state, generate):
        print("printed by a task")
        if state.sample_id == "bad":
            raise ValueError("this sample\\nis broken")
        return await generate(state)

    return solve


@task
def sums(extra: int = 0):
    dataset = [
        Sample(id="good", input=f"What is 47 plus {38 + extra}?", target="85"),
        Sample(id="bad", input="x", target="y"),
    ]
    return Task(dataset=dataset, solver=fragile(), scorer=includes())


@task
def ungraded():
    return Task(dataset=[Sample(input="Hello")], solver=generate())
"""


def test_any_task_of_inspect_runs_with_its_arguments(tmp_path: Path, evaluate: Any) -> None:
    (tmp_path / "task.py").write_text(TASK_FILE, "utf-8")
    nano = ("-m", "nano", "--threads", 1, "--ctx", 512, "--parallel", 2, "-t", 0)
    result = evaluate("task.py@sums", *nano, "-o", "out", "--json")
    assert result.code == 3
    assert "printed" not in result.stdout
    found = {sample["id"]: sample for sample in samples(tmp_path / "out")}
    assert found["good"]["outcome"] == "correct"
    assert (found["bad"]["outcome"], found["bad"]["error"]) == ("failed", "this sample is broken")
    other = evaluate("task.py@sums", *nano, "-T", "extra=1", "--limit", 1, "-o", "other", "-q")
    assert other.code == 0
    assert [sample["outcome"] for sample in samples(tmp_path / "other")] == ["wrong"]
    assert "it has no answers and no scorer" in evaluate("task.py@ungraded", *nano, "-o", "none").stderr


def unfinished(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in folder.glob("unfinished/*.jsonl"))


def killed(tmp_path: Path, arguments: tuple[object, ...], answers: int, number: int) -> None:
    """Kill an evaluation into the folder `part` as soon as it has kept so many answers."""
    with start("eval", *arguments, "-o", "part", cwd=tmp_path) as live:
        deadline = time.monotonic() + 100
        while unfinished(tmp_path / "part") < answers and live.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        live.process.send_signal(number)
        live.process.wait(50)


@pytest.mark.slow  # docs/eval.md, whose commands run, does this as well
def test_after_kill_nothing_finished_is_asked_again_and_the_result_is_the_same(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (sums(tmp_path, 8), *SAME, "--repeats", 2)
    killed(tmp_path, arguments, 3, signal.SIGKILL)
    kept = unfinished(tmp_path / "part")
    assert 3 <= kept < 16
    asked = count_answers(monkeypatch)
    resumed = evaluate("--resume", "part")
    assert resumed.code == 0, resumed.stderr
    assert len(asked) == 16 - kept
    whole = evaluate(*arguments, "-o", "whole")
    assert whole.code == 0
    assert samples(tmp_path / "part") == samples(tmp_path / "whole")
    assert len(list((tmp_path / "part" / "logs").iterdir())) == 1


def count_answers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    from ossctl.app.eval.inspect.engine import AsyncEngine

    asked: list[object] = []
    usual = AsyncEngine.answers

    async def answers(self: AsyncEngine, task: Any, tools: Any) -> Any:
        asked.append(task)
        return await usual(self, task, tools)

    monkeypatch.setattr(AsyncEngine, "answers", answers)
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_kills_at_random_moments_lose_nothing(tmp_path: Path, evaluate: Any, seed: int) -> None:
    """Up to four kills, by any signal, each after a random number of further answers."""
    moments = random.Random(seed)
    arguments = (sums(tmp_path, 20), *SAME, "--repeats", 2, "-e", "low,high")
    killed(tmp_path, arguments, moments.randint(0, 20), signal.SIGKILL)
    for _ in range(moments.randint(0, 3)):
        seconds = moments.uniform(2.5, 7)
        with start("eval", "--resume", "part", cwd=tmp_path) as live:
            before = unfinished(tmp_path / "part")
            time.sleep(seconds)
            live.process.send_signal(moments.choice((signal.SIGKILL, signal.SIGINT, signal.SIGTERM)))
            live.process.wait(50)
        assert unfinished(tmp_path / "part") >= before or (tmp_path / "part" / "results.json").exists()
    assert evaluate("--resume", "part", "-q").code == 0
    assert evaluate(*arguments, "-o", "whole", "-q").code == 0
    assert samples(tmp_path / "part") == samples(tmp_path / "whole")


@contextmanager
def ctrl_c_after(n_answers: int) -> Iterator[None]:
    from ossctl.app.eval.inspect import model_run

    usual = model_run._Answers.add

    def add(self: Any, found: Any) -> None:
        usual(self, found)
        if len(self._samples) == n_answers:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_run._Answers, "add", add)
        yield


def test_a_resumed_evaluation_keeps_its_config_and_presets(tmp_path: Path, evaluate: Any) -> None:
    config = tmp_path / "ossctl.toml"
    config.write_text("[eval]\nrepeats = 2\n\n[preset.short]\nmax-tokens = 90\ntemperature = 0\n", "utf-8")
    with ctrl_c_after(3):
        result = evaluate(sums(tmp_path), *NANO[:8], *NANO[-2:], "-P", "short", "-o", "out", "-q")
    assert result.code == 130
    config.write_text("[eval]\nrepeats = 5\nmax-tokens = 1\n", "utf-8")
    assert evaluate("--resume", "out", "-q").code == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))["results"]
    assert [(each["repeats"], len(each["samples"])) for each in found] == [(2, 8)]
    assert "truncated" not in {each["outcome"] for each in samples(tmp_path / "out")}


def test_what_a_grader_failed_at_is_asked_again(tmp_path: Path, evaluate: Any) -> None:
    grader = tmp_path / "grader.py"
    grader.write_text("import sys; sys.exit(7)\n", "utf-8")
    questions = sums(tmp_path, 12)
    program = ("-T", f"program={shlex.join([sys.executable, str(grader)])}")
    with ctrl_c_after(3):
        result = evaluate(questions, *SAME, *program, "-o", "out", "-q")
    assert (result.code, {sample["outcome"] for sample in samples(tmp_path / "out")}) == (130, {"failed"})
    grader.write_text("", "utf-8")
    assert evaluate("--resume", "out", "-q").code == 0
    assert [sample["outcome"] for sample in samples(tmp_path / "out")] == ["correct"] * 12


def test_retry_failed_asks_only_what_failed_in_a_complete_evaluation(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = tmp_path / "grader.py"
    broken = "import json, sys\nif json.load(sys.stdin)['id'] == {}: sys.exit(7)\n"
    grader.write_text(broken.format("'2'"), "utf-8")
    questions = sums(tmp_path, 4)
    program = ("-T", f"program={shlex.join([sys.executable, str(grader)])}")
    assert evaluate(questions, *SAME, *program, "--repeats", 2, "-o", "out", "-q").code == 3
    before = samples(tmp_path / "out")
    assert [each["outcome"] for each in before].count("failed") == 2
    asked = count_answers(monkeypatch)
    assert evaluate("--resume", "out", "-q").code == 3
    assert not asked
    grader.write_text("", "utf-8")
    with ctrl_c_after(7):
        assert evaluate("--resume", "out", "--retry-failed", "-q").code == 130
    assert evaluate("--resume", "out", "-q").code == 0  # that continues what --retry-failed began
    assert 2 <= len(asked) <= 3
    after = samples(tmp_path / "out")
    assert {each["outcome"] for each in after} == {"correct"}
    assert [each for each in after if each["id"] != "2"] == [each for each in before if each["id"] != "2"]
    assert len(list((tmp_path / "out" / "logs").iterdir())) == 1
    assert not (tmp_path / "out" / "unfinished").exists()
    assert evaluate("--resume", "out", "--retry-failed", "-q").code == 0
    assert len(asked) <= 3


@pytest.mark.parametrize("moved", [False, True])
def test_an_evaluation_is_continued_from_any_folder(
    moved: bool, tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own paths, and if its folder was moved as a whole, with those from the current one."""
    begun, other = tmp_path / "begun", tmp_path / "other"
    for folder in (begun, other):
        folder.mkdir()
    monkeypatch.chdir(begun)
    with ctrl_c_after(3):
        assert evaluate(sums(begun, 12), *SAME, "-o", "out", "-q").code == 130
    if moved:
        monkeypatch.chdir(tmp_path)
        begun = begun.rename(tmp_path / "moved")
        monkeypatch.chdir(begun)
        assert evaluate("--resume", "out", "-q").code == 0
    else:
        monkeypatch.chdir(other)
        assert evaluate("--resume", "../begun/out", "-q").code == 0
    assert len(samples(begun / "out")) == 12


def test_ctrl_c_keeps_what_is_finished_and_prints_its_table(tmp_path: Path, evaluate: Any) -> None:
    with ctrl_c_after(3):
        result = evaluate(sums(tmp_path, 12), *SAME, "-o", "out")
    assert result.code == 130
    assert "Continue with: ossctl eval --resume out" in result.said
    assert result.stdout.startswith("Scores\n")
    assert len(samples(tmp_path / "out")) >= 3
    assert evaluate("--resume", "out", "-q").code == 0
    assert len(samples(tmp_path / "out")) == 12


def test_a_torn_line_of_the_journal_is_asked_again(tmp_path: Path, evaluate: Any) -> None:
    evaluate(sums(tmp_path, 3), *SAME, "-o", "whole", "-q")
    evaluate(sums(tmp_path, 3), *SAME, "-o", "out", "-q")
    record = json.loads((tmp_path / "out" / "eval.json").read_text("utf-8"))
    (tmp_path / "out" / "eval.json").write_text(json.dumps({**record, "finished": []}), "utf-8")
    (tmp_path / "out" / "results.json").unlink()
    (tmp_path / "out" / "unfinished").mkdir()
    (tmp_path / "out" / "unfinished" / "sums.nano.medium.jsonl").write_text('{"seconds":1.0,"wh":nu', "utf-8")
    assert evaluate("--resume", "out", "-q").code == 0
    assert samples(tmp_path / "out") == samples(tmp_path / "whole")


def test_a_model_that_cannot_be_loaded_does_not_stop_the_others(tmp_path: Path, evaluate: Any) -> None:
    broken = tmp_path / "broken.gguf"
    from ossctl.app.library.resolve import NANO_FILE

    broken.write_bytes(NANO_FILE.read_bytes()[:-100_000])
    result = evaluate(sums(tmp_path, 1), "-m", f"{broken},nano", *NANO[2:], "-o", "out")
    assert result.code == 3
    assert any(line.startswith("broken failed: ") for line in result.said)
    assert len(samples(tmp_path / "out")) == 1
    assert evaluate("--resume", "out").code == 3


def test_a_folder_that_cannot_be_written_ends_the_evaluation(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ossctl.app.eval.inspect import model_run
    from ossctl.app.library.resolve import NANO_FILE

    shutil.copy(NANO_FILE, tmp_path / "other.gguf")
    usual = model_run._Answers.begin

    def begin(self: Any, *given: Any) -> None:
        usual(self, *given)
        shutil.rmtree(tmp_path / "out")

    monkeypatch.setattr(model_run._Answers, "begin", begin)
    result = evaluate(sums(tmp_path, 1), "-m", "nano,other.gguf", *NANO[2:], "-o", "out")
    assert (result.code, result.stdout) == (1, "")
    assert "sums.nano.medium.jsonl was deleted or replaced" in result.stderr
    assert "other" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is no task to evaluate"),
        (("aime52",), "there is no task 'aime52'\nDid you mean aime25?"),
        (("-",), "questions can't be read from stdin"),
        (("sums.jsonl", "sums.jsonl"), "the task sums is given twice"),
        (("none.jsonl",), "none.jsonl"),
        (("sums.jsonl", "-m", "nano,nano"), "nano and nano are the same model"),
        (("sums.jsonl", "--limit", "1", "--sample", "1"), "--limit and --sample cannot be combined"),
        (("sums.jsonl", "--json", "--csv"), "--json and --csv cannot be combined"),
        (("sums.jsonl", "--retry-failed"), "--retry-failed needs --resume"),
        (("sums.jsonl", "-T", "x"), "-T x: expected NAME=VALUE"),
        (("sums.jsonl", "-T", "nope=1"), "-T: "),
        (("--resume", "nowhere"), "cannot read nowhere/eval.json"),
        (("sums.jsonl", "-o", "full"), "full is not empty\n--resume full continues an evaluation"),
        (("inspect_evals/nope",), "there is no task inspect_evals/nope"),
        (("swe-bench",), "swe-bench needs the package swebench"),
        (
            ("gsm8k",),
            "of gsm8k (openai/gsm8k): the hub can't be reached\nRun this where",
        ),
        (("sums.jsonl", "--think", "on"), "--think is not for nano: gpt-oss always reasons"),
        (("sums.jsonl", "--template-var", "nope=1"), "template variable nope"),
        (("sums.jsonl", "-e", "huge"), "'huge' is not one of low, medium, high"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    tmp_path: Path, evaluate: Any, arguments: tuple[str, ...], message: str
) -> None:
    sums(tmp_path, 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    model = () if "-m" in arguments or "--resume" in arguments else ("-m", "nano")
    result = evaluate(*arguments, *model)
    assert result.code in {1, 2}
    assert message in result.stderr
    assert result.stdout == ""
    assert not [*tmp_path.glob("eval-*")], "an empty folder is left"


def test_a_missing_extra_is_one_line(evaluate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ossctl.cli.eval.find_spec", lambda _name: None)
    result = evaluate("aime25", "-m", "nano")
    assert (result.code, result.stderr) == (
        2,
        'ossctl eval needs Inspect AI\nInstall it: pip install "ossctl[eval]"',
    )


def test_options_cannot_be_changed_by_resuming(tmp_path: Path, evaluate: Any) -> None:
    evaluate(sums(tmp_path, 1), *NANO, "-o", "out", "-q")
    assert "--effort can't be changed" in evaluate("--resume", "out", "-e", "low").stderr
    assert "TASK can't be changed" in evaluate("sums.jsonl", "--resume", "out").stderr


def test_tasks_are_listed_with_what_they_need(evaluate: Any) -> None:
    lines = evaluate("--list").stdout.splitlines()
    assert lines[0].split() == ["task", "questions", "repeats", "needs"]
    named = {line.split()[0]: line for line in lines[1 : lines.index("")]}
    assert named["mmlu-pro"].split()[1] == "12,032"
    assert "TIGER-Lab/MMLU-Pro from the hub" in named["mmlu-pro"]
    assert "Docker or bubblewrap" in named["humaneval"]


def test_tasks_and_files_of_questions_are_completed(tmp_path: Path) -> None:
    sums(tmp_path, 1)
    assert [name for name, _ in complete_task("aime")] == ["aime24", "aime25"]
    assert [name for name, _ in complete_task("su")] == ["sums.jsonl"]
