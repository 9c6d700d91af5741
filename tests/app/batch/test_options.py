"""Invalid options of `ossctl batch` are refused before a model is looked for."""

from pathlib import Path

import pytest

from ossctl.app.batch.options import STREAM, BatchOptions
from ossctl.app.batch.run import workload_of
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.wire.source import Format
from ossctl.errors import UsageError
from ossctl.planning.workload import Purpose, Workload


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,name\n1,Ada\n")
    Path("in.jsonl").write_text('{"prompt": "Hi"}\n')
    Path("out.jsonl").write_text("precious\n")
    return tmp_path


CSV, JSONL, OUT = Path("people.csv"), Path("in.jsonl"), Path("out.jsonl")


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_stdout_has_two_names(folder: Path, name: str) -> None:
    assert BatchOptions(JSONL, Path(name)).job().sink.path is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (BatchOptions(CSV), "people.csv has no column prompt"),
        (BatchOptions(CSV, prompt="{{ name"), "--prompt: "),
        (BatchOptions(CSV, prompt=" "), "--prompt is empty"),
        (BatchOptions(CSV, prompt="@missing.j2"), "cannot read missing.j2"),
        (BatchOptions(CSV, formats=(Format.CSV, Format.TSV)), "--csv and --tsv cannot be combined"),
        (BatchOptions(JSONL, generation=GenerationOptions(schema="{")), "--schema is not valid JSON"),
        (BatchOptions(JSONL, generation=GenerationOptions(top_p=2)), "--top-p is 2"),
        (BatchOptions(JSONL, report=JSONL), "--report would overwrite in.jsonl"),
        (BatchOptions(JSONL, OUT), "out.jsonl exists"),
        (
            BatchOptions(JSONL, OUT, resume=True, overwrite=True),
            "--resume and --overwrite cannot be",
        ),
        (BatchOptions(JSONL, resume=True), "--resume needs an output that is a file"),
        (BatchOptions(JSONL, OUT, retry_failed=True), "--retry-failed needs --resume"),
        (BatchOptions(JSONL, OUT, retry_cut=True), "--retry-cut needs --resume"),
        (BatchOptions(JSONL, JSONL, overwrite=True), "in.jsonl is the input"),
        (BatchOptions(STREAM, sample=2), "--sample needs an input that is a file"),
    ],
)
def test_contradictory_and_invalid_options_are_refused(
    folder: Path, options: BatchOptions, said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        options.job().prepare()
    assert refused.value.message.startswith(said)
    assert OUT.read_text() == "precious\n"


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(UsageError, match="--stop is an empty text"):
        GenerationOptions(stops=[".", ""])


def test_the_workload_estimates_the_tokens_of_a_batch(folder: Path) -> None:
    job = BatchOptions(JSONL, generation=GenerationOptions(max_tokens=7)).job()
    workload = workload_of(job, job.prepare())
    assert (workload.purpose, workload.requests, workload.prompt_tokens, workload.answer_tokens) == (
        Purpose.BATCH,
        1,
        4,
        7,
    )
    assert workload_of(job, None) == Workload(Purpose.BATCH)  # a pipe


@pytest.mark.parametrize("where", [{"hosts": "gpu1"}, {"cluster": "auto"}])
def test_workers_belong_to_the_machine_of_the_engine(
    where: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSSCTL_RPC", "gpubox:50052")
    with pytest.raises(UsageError, match=f"--rpc and --{next(iter(where))} cannot be combined"):
        BatchOptions(Path("in.jsonl"), Path("out.jsonl"), **where).job()  # type: ignore[arg-type]
