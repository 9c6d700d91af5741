"""The tasks that `ossctl eval` knows by name, and how others are named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.eval.question import GraderName
from ossctl.errors import UsageError

STDIN = "-"


@dataclass(frozen=True)
class NamedTask:
    """A task of inspect-evals, asked as its published figures were.

    `repeats` is how often each question is asked by default. `dataset` is a repository of the hub, `url` what
    is fetched from elsewhere and then `cached` in the folder of inspect-evals. `packages` are modules that
    the task imports, with what installs them. A `sandboxed` one runs programs of the model; one `in_docker`
    runs them in images of its own.
    """

    name: str
    task: str
    questions: int
    about: str
    repeats: int = 1
    dataset: str = ""
    url: str = ""
    cached: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    sandboxed: bool = False
    in_docker: bool = False

    @property
    def needs(self) -> str:
        """What it needs besides a model, in words."""
        parts = [f"{self.dataset} from the hub" if self.dataset else "", self.url]
        parts += [f"pip install {package}" for package in self.packages.values()]
        parts.append("Docker" if self.in_docker else "Docker or bubblewrap" if self.sandboxed else "")
        return ", ".join(filter(None, parts))


_TAU2 = "tau2-bench: serving customers, whom the model plays"

# AIME has 30 questions a year: 8 repeats narrow the interval. GPQA: 4 as in Inspect, HumanEval: 1 (pass@1).
NAMED = (
    NamedTask("aime24", "aime2024", 30, "AIME 2024: competition mathematics", 8, "Maxwell-Jia/AIME_2024"),
    NamedTask("aime25", "aime2025", 30, "AIME 2025: competition mathematics", 8, "math-ai/aime25"),
    NamedTask(
        "mmlu-pro", "mmlu_pro", 12_032, "MMLU-Pro: ten choices, 14 subjects", 1, "TIGER-Lab/MMLU-Pro",
        arguments={"shuffle": False},
    ),
    NamedTask(
        "gpqa", "gpqa_diamond", 198, "GPQA Diamond: graduate-level science", 4,
        url="https://openaipublic.blob.core.windows.net/simple-evals/gpqa_diamond.csv",
        cached="gpqa/gpqa_diamond.csv",
    ),
    NamedTask(
        "gsm8k", "gsm8k", 1_319, "GSM8K: word problems, without examples", 1, "openai/gsm8k",
        arguments={"fewshot": 0},
    ),
    NamedTask(
        "ifeval", "ifeval", 541, "IFEval: following instructions, all of a prompt's, strictly", 1,
        "google/IFEval", packages={"instruction_following_eval": "git+https://github.com/josejg/instruction_following_eval"},
    ),
    NamedTask(
        "humaneval", "humaneval", 164, "HumanEval: Python functions, tested in a sandbox", 1,
        "openai/openai_humaneval", sandboxed=True,
    ),
    NamedTask(
        "bfcl", "bfcl", 4_981, "BFCL v1 to v3: calls of functions", 1,
        url="https://github.com/ShishirPatil/gorilla",
    ),
    NamedTask("tau2-airline", "tau2_airline", 50, f"{_TAU2} (airline)", 4),
    NamedTask("tau2-retail", "tau2_retail", 114, f"{_TAU2} (retail)", 4),
    NamedTask("tau2-telecom", "tau2_telecom", 114, f"{_TAU2} (telecom)", 4),
    NamedTask(
        "swe-bench", "swe_bench", 500, "SWE-bench Verified: repairing programs", 1,
        "princeton-nlp/SWE-bench_Verified", packages={"swebench": "swebench"}, in_docker=True,
    ),
)  # fmt: skip
_SEVERAL = {"tau2": ("tau2-airline", "tau2-retail", "tau2-telecom")}
_ALSO = {
    "aime-2024": "aime24",
    "aime-2025": "aime25",
    "aime2024": "aime24",
    "aime2025": "aime25",
    "gpqa-diamond": "gpqa",
}


@dataclass(frozen=True)
class TaskSpec:
    """A task to run: one known by name, one of Inspect's (`reference`), or a file of questions.

    `name` is unique among the tasks of an evaluation.
    """

    name: str
    named: NamedTask | None = None
    reference: str = ""
    questions: Path | None = None

    @property
    def repeats(self) -> int:
        return self.named.repeats if self.named else 1


@dataclass(frozen=True)
class TaskOptions:
    """Options of all tasks: `arguments` are those of `-T`; `grader` is for questions without one."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    grader: GraderName | None = None
    judged: bool = False


def specs_of(given: Sequence[str]) -> list[TaskSpec]:
    """The tasks that the user names. Raises UsageError for unknown ones and for those given twice."""
    names = [each for text in given for each in _SEVERAL.get(text.lower(), (text,))]
    specs = [_spec(name) for name in names]
    for spec in specs:
        if sum(other.name == spec.name for other in specs) > 1:
            raise UsageError(f"the task {spec.name} is given twice", "Results are named by their tasks.")
    return specs


def arguments_of(given: Sequence[str]) -> dict[str, Any]:
    """The arguments of `-T NAME=VALUE`: JSON, or else text. Raises UsageError."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().replace("-", "_").isidentifier():
            raise UsageError(f"-T {text}: expected NAME=VALUE")
        found[name.strip().replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode("utf-8", "surrogateescape"))
    except msgspec.DecodeError:
        return text


def _spec(text: str) -> TaskSpec:
    name = _ALSO.get(text.lower().replace("_", "-"), text.lower().replace("_", "-"))
    for named in NAMED:
        if named.name == name:
            return TaskSpec(name, named)
    if text == STDIN:
        raise UsageError("questions can't be read from stdin", "They are read again to resume: use a file.")
    path = Path(text)
    if ".jsonl" in path.suffixes:
        return TaskSpec(path.name.partition(".")[0], questions=path)
    if ".py" in text or "/" in text:
        return _inspect_spec(text)
    known = [*_SEVERAL, *(named.name for named in NAMED)]
    nearest = get_close_matches(name[:80], known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else "ossctl eval --list shows the names."
    if path.is_file():
        hint = "Questions are in files named .jsonl; .py files define tasks of Inspect."
    raise UsageError(f"there is no task {text[:200]!r}", hint)


def _inspect_spec(text: str) -> TaskSpec:
    file, at, name = text.partition("@")
    if file.endswith(".py"):
        if not Path(file).is_file():
            raise UsageError(f"there is no file {file}")
        return TaskSpec(name if at else Path(file).stem, reference=text)
    if file.startswith("inspect_evals/"):
        return TaskSpec(file.removeprefix("inspect_evals/"), reference=text)
    return TaskSpec(file.replace("/", "-"), reference=text)
