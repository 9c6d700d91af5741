"""What an evaluation measured: one result for each task, model and setting, with all of its samples."""

from typing import Literal

import msgspec

SCHEMA = "ossctl.eval/1"

# "truncated": a token limit ended the answer before one was given. "failed": there is no answer to grade.
Outcome = Literal["correct", "wrong", "truncated", "failed"]


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer to one question; `epoch` counts repeats from 1.

    `score` is from 0 to 1, and 0 for what is truncated or failed. `given` is what the grader read as answer.
    """

    id: str
    epoch: int = 1
    outcome: Outcome
    score: float
    target: str
    given: str
    reasoning_tokens: int = 0
    answer_tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None


class Setting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a task was run. The sampling parameters are those that were in effect."""

    effort: str | None = None
    think: bool | None = None
    temperature: float
    top_p: float
    seed: int | None = None
    max_tokens: int | None = None
    max_reasoning_tokens: int | None = None
    python: bool = False


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`name` as the user gave it; `file` without its folder; `context` in tokens a sequence."""

    name: str
    file: str
    fingerprint: str
    quantization: str = ""
    total_parameters: int = 0
    active_parameters: int = 0
    context: int = 0
    n_sequences: int = 1


class TaskResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task with one model and one setting. `seconds` is wall time; without a counter, `wh` is None.

    `set_size` is the number of questions of the whole set, if a part of it was asked.
    """

    task: str
    model: Model
    setting: Setting
    repeats: int = 1
    set_size: int | None = None
    samples: tuple[Sample, ...]
    seconds: float
    wh: float | None = None
    log: str = ""  # Inspect's log file


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """`machine` is a line such as "H100 80 GB, 26 cores"; `versions` are of ossctl, llama.cpp and Inspect.

    `date` is that of the start, YYYY-MM-DD.
    """

    results: tuple[TaskResult, ...]
    machine: str
    versions: dict[str, str]
    date: str = ""
    schema: str = SCHEMA
