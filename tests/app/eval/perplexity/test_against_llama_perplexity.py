"""Figures equal llama-perplexity's. `make llama-perplexity` builds it, or it is on PATH."""

import ctypes
import json
import os
import pydoc
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ossctl.runtime.bindings import lib
from tests.support.command import command, environment
from tests.support.models import smollm2
from tests.support.shown_output import ROOT

_BUILT = ROOT / "build" / "llama-perplexity"
TOOL = str(_BUILT) if _BUILT.is_file() else shutil.which("llama-perplexity")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(TOOL is None, reason="no llama-perplexity: `make llama-perplexity` builds it"),
]

_MODULES = (
    "argparse",
    "logging",
    "json",
    "re",
    "threading",
    "collections",
    "subprocess",
    "pathlib",
    "random",
)
_CHUNKS = 16
_Q2_K, _Q8_0 = 10, 7  # enum llama_ftype, include/llama.h
_NUMBER = r"(-?[\d.]+)"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 20,000 tokens of Python's own documentation."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    pages = [pydoc.plain(pydoc.render_doc(name))[:9_000] for name in _MODULES]
    path.write_text("\n".join(pages), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=[_Q2_K, _Q8_0], ids=["Q2_K", "Q8_0"])
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "quantized.gguf"
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = request.param, True
    assert lib.llama_model_quantize(os.fsencode(smollm2()), os.fsencode(path), ctypes.byref(params)) == 0
    return path


def llama_perplexity(*arguments: object) -> str:
    line = [str(TOOL), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def ours(*arguments: object, home: Path) -> dict[str, Any]:
    line = command("eval", "ppl", *arguments, "--json", "-q")
    done = subprocess.run(line, capture_output=True, check=True, env=environment(home))
    (found,) = json.loads(done.stdout)["results"]
    return dict(found)


def figures(label: str, output: str) -> list[float]:
    found = re.search(rf"{label}\s*:?\s*{_NUMBER}%?(?: *(?:±|\+/-) *{_NUMBER})?", output)
    assert found, output[-2000:]
    return [float(number) for number in found.groups() if number is not None]


@pytest.mark.parametrize("n_ctx", [128, 512, 3072])
def test_a_perplexity_is_llama_perplexitys(tmp_path: Path, text: Path, n_ctx: int) -> None:
    chunks = 6_144 // n_ctx
    output = llama_perplexity("-m", smollm2(), "-f", text, "-c", n_ctx, "--chunks", chunks)
    found = ours(text, "-m", smollm2(), "--ctx", n_ctx, "--chunks", chunks, home=tmp_path)
    value, error = figures("Final estimate: PPL =", output)
    assert found["perplexity"]["value"] == pytest.approx(value, rel=1e-3)
    assert found["perplexity"]["error"] == pytest.approx(error, rel=1e-3)


def test_a_kl_divergence_is_llama_perplexitys(tmp_path: Path, text: Path, quantized: Path) -> None:
    base = tmp_path / "base.bin"
    llama_perplexity("-m", smollm2(), "-f", text, "--kl-divergence-base", base, "--chunks", _CHUNKS)
    output = llama_perplexity("-m", quantized, "--kl-divergence-base", base, "--kl-divergence")
    found = ours(text, "-m", quantized, "--against", smollm2(), "--chunks", _CHUNKS, home=tmp_path)
    distance = found["divergence"]

    def same(label: str, value: dict[str, float], scale: float = 1) -> None:
        theirs = figures(label, output)
        assert [value["value"] * scale, value["error"] * scale] == pytest.approx(theirs, rel=1e-3, abs=1.1e-3)

    same(r"Mean PPL\(Q\)", found["perplexity"])
    same(r"Mean PPL\(base\)", distance["base_perplexity"])
    same(r"Mean PPL\(Q\)/PPL\(base\)", distance["perplexity_ratio"])
    same(r"Mean    Δp:", distance["delta_p"], 100)
    same("RMS Δp", distance["rms_delta_p"], 100)
    same("Same top p:", distance["same_top"], 100)
    mean, error = figures(r"Mean    KLD", output)
    assert distance["kl_divergence"]["value"] == pytest.approx(mean, rel=1e-3)
    assert distance["kl_divergence"]["error"] == pytest.approx(error, rel=1e-3, abs=1e-6)
    for label, percent in (
        ("Maximum", "100"),
        ("99.9%", "99.9"),
        ("99.0%", "99"),
        ("90.0%", "90"),
        ("Median", "50"),
    ):
        (value,) = figures(rf"{label} +KLD", output)
        assert distance["kl_percentiles"][percent] == pytest.approx(value, rel=1e-3, abs=2e-6)
