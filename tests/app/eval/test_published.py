"""Published figures: which belong beside a result, and that each has its source."""

import pytest

from ossctl.app.eval.published import all_figures, comparison, published_for, source, title_of
from ossctl.app.eval.results import Model, Setting, TaskResult


def run(
    file: str,
    task: str = "aime25",
    effort: str | None = None,
    think: bool | None = None,
    python: bool = False,
    name: str = "",
) -> TaskResult:
    return TaskResult(
        task=task,
        model=Model(name=name or file, file=file, fingerprint=""),
        setting=Setting(effort=effort, think=think, temperature=1.0, top_p=1.0, python=python),
        samples=(),
        seconds=0.0,
    )


def values(result: TaskResult) -> list[float]:
    return [round(100 * figure.value, 1) for figure in published_for(result)]


@pytest.mark.parametrize(
    ("effort", "python", "published"),
    [("low", False, 37.1), (None, False, 72.1), ("high", False, 91.7), ("high", True, 98.7)],
)
def test_effort_and_python_choose_the_figure(effort: str | None, python: bool, published: float) -> None:
    assert values(run("gpt-oss-20b-MXFP4.gguf", effort=effort, python=python)) == [published]


@pytest.mark.parametrize(
    "file",
    [
        "gpt-oss-120b-mxfp4-00001-of-00003.gguf",
        "gpt-oss-120b-F16.gguf",
        "openai_gpt-oss-120b-MXFP4.gguf",
        "gpt-oss-120b-UD-Q4_K_XL.gguf",
        "120b",
        "120b:q4_k_m",
    ],
)
def test_a_model_is_known_in_every_quantisation(file: str) -> None:
    assert values(run(file, effort="high")) == [92.5]


@pytest.mark.parametrize(
    "file",
    [
        "gpt-oss-safeguard-120b-MXFP4.gguf",
        "gpt-oss-120b-abliterated-Q4_K_M.gguf",
        "gpt-oss-120b-finetuned.gguf",
        "DeepSeek-R1-0528-Qwen3-8B-Q4_K_M.gguf",
        "DeepSeek-V3.2-Q4_K_M.gguf",
        "nano.gguf",
    ],
)
def test_another_model_of_a_similar_name_has_no_figure(file: str) -> None:
    assert values(run(file, effort="high")) == []


def test_the_file_tells_more_than_a_short_name() -> None:
    assert values(run("DeepSeek-V3.1-UD-Q2_K_XL-00001-of-00006.gguf", name="deepseek-v3", think=True)) == [
        88.4
    ]
    assert values(run("DeepSeek-R1-0528-IQ1_S.gguf", name="deepseek-r1")) == [87.5]


def test_a_model_that_can_think_or_not_does_as_its_template_says() -> None:
    assert values(run("Qwen3-235B-A22B-Q4_K_M.gguf")) == [81.5]
    assert values(run("Qwen3-235B-A22B-Q4_K_M.gguf", think=False)) == [24.7]
    assert values(run("DeepSeek-V3.1-Q4_K_M.gguf")) == [49.8]


def test_a_task_has_inspects_names_too() -> None:
    file = "gpt-oss-20b-MXFP4.gguf"

    assert values(run(file, "inspect_evals/aime2024")) == [80.0]
    assert values(run(file, "gpqa_diamond", "high")) == [71.5]
    assert values(run(file, "tau-bench-retail", "high", python=True)) == [54.8]
    assert title_of("gpqa_diamond") == "GPQA Diamond"
    assert title_of("my-questions") == "my-questions"


def test_every_figure_has_a_source_and_is_there_once() -> None:
    figures = all_figures()
    keys = [(f.model, f.task, f.effort, f.think, f.tools) for f in figures]

    assert len(figures) > 200
    assert len(set(keys)) == len(keys)
    assert all(f.source.url.startswith("https://") and f.source.date and f.where for f in figures)
    assert all(f.value > 500 if f.rating else 0 < f.value < 1 for f in figures)


def test_the_comparison_marks_what_its_sources_contradict() -> None:
    table = comparison()
    differing = [
        (row.title, cell.shown, cell.sourced) for row in table.rows for cell in row.cells if cell.note
    ]

    assert differing == [
        ("MMLU-Pro", "~90.0 %", "MMLU 90.0 %"),
        ("τ-bench", "\N{EN DASH}", "63.9 %"),
        ("τ-bench", "79.7 %", "67.8 %"),
        ("active parameters", "6.7 B", "37 B"),
    ]
    assert all(len(row.cells) == len(table.models) for row in table.rows)
    assert all(source(cell.source).url for row in table.rows for cell in row.cells)


def test_the_comparison_agrees_with_the_figures() -> None:
    rows = {row.title: [cell.sourced or cell.shown for cell in row.cells] for row in comparison().rows}
    r1, qwen = "DeepSeek-R1-0528-Q4_K_M.gguf", "Qwen3-235B-A22B-Thinking-2507-Q4_K_M.gguf"
    oss = "gpt-oss-120b-MXFP4.gguf"

    assert values(run(oss, "aime24", "high", python=True)) + values(
        run(oss, "aime25", "high", python=True)
    ) == [
        96.6,
        97.9,
    ]
    assert rows["AIME"][1:] == [f"{values(run(file))[0]} %" for file in (r1, qwen)]
    assert rows["MMLU-Pro"][1:] == [f"{values(run(file, 'mmlu-pro'))[0]} %" for file in (r1, qwen)]
    assert rows["τ-bench"] == [
        f"{values(run(file, 'tau-bench-retail', 'high'))[0]} %" for file in (oss, r1, qwen)
    ]
