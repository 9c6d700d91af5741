"""Answers of models to real schemas: each that is written fits, and none is refused (`pytest -m slow -s`)."""

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ossctl.schemas.validator import complaint
from tests.schemas.test_real_schemas import REAL
from tests.support.command import command, environment, write_jsonl
from tests.support.models import smollm2, tiny_gpt_oss


def form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["nano", "tiny", "smollm2"])
def test_every_written_answer_fits_and_no_schema_is_refused(name: str, tmp_path: Path) -> None:
    makers: dict[str, Callable[[], object]] = {
        "nano": lambda: "nano",
        "tiny": lambda: tiny_gpt_oss(tmp_path),
        "smollm2": smollm2,
    }
    prompt = {"prompt": "Mara is 36 and lives in Bergen."}
    requests = [{"id": entry["name"], **prompt, "response_format": form(entry["schema"])} for entry in REAL]
    source = write_jsonl(tmp_path / "in.jsonl", *requests)
    options = ["-o", "out.jsonl", "--flat", "-n", 300, "--ctx", 1536, "--parallel", 8]
    options += [] if name == "smollm2" else ["--max-reasoning-tokens", 0]
    with warnings.catch_warnings(action="ignore"):  # importing bpe-openai warns
        model = makers[name]()
    batch = command("batch", source, *options, "-m", model)
    subprocess.run(batch, cwd=tmp_path, env=environment(tmp_path), check=False, timeout=1_500)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    errors = [record["error"] for record in records if record["error"]]
    cut = [error for error in errors if "before its JSON was complete" in error["message"]]
    unfit = [error for error in errors if "does not fit" in error["message"]]
    refused = [error for error in errors if error not in cut and error not in unfit]
    print(f"{name}: {len(records)} schemas, {len(cut)} cut, {len(unfit)} did not fit after the retries")
    assert len(records) == len(REAL)
    assert refused == []
    schemas = {entry["name"]: entry["schema"] for entry in REAL}
    for record in records:
        if not record["error"]:
            assert complaint(json.loads(record["content"]), schemas[record["custom_id"]]) == ""
