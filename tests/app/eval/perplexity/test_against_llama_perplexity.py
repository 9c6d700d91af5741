"""Figures equal llama-perplexity's. `make llama-perplexity` builds it, or it is on PATH."""

import ctypes
import json
import os
import pydoc
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ossctl.runtime.bindings import lib
from tests.support.command import environment, ossctl
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
    done = subprocess.run(
        [str(TOOL), *map(str, arguments)], capture_output=True, text=True, check=True, env=environment(ROOT)
    )
    return done.stdout + done.stderr


def figures(label: str, output: str) -> list[float]:
    found = re.search(rf"{label}\s*:?\s*{_NUMBER}%?(?: *(?:±|\+/-) *{_NUMBER})?", output)
    assert found, output[-2000:]
    return [float(number) for number in found.groups() if number is not None]


@pytest.mark.parametrize("n_ctx", [128, 512, 3072])
def test_a_perplexity_is_llama_perplexitys(tmp_path: Path, text: Path, n_ctx: int) -> None:
    output = llama_perplexity("-m", smollm2(), "-f", text, "-c", n_ctx, "--chunks", 8192 // n_ctx)
    arguments = ("-m", smollm2(), "--ctx", n_ctx, "--chunks", 8192 // n_ctx, "--json")
    result = ossctl("eval", "ppl", text, *arguments, cwd=tmp_path)
    assert result.code == 0, result.stderr
    ours = json.loads(result.stdout)["results"][0]["perplexity"]
    value, error = figures("Final estimate: PPL =", output)
    assert ours["value"] == pytest.approx(value, rel=1e-3)
    assert ours["error"] == pytest.approx(error, rel=1e-3)


def test_a_kl_divergence_is_llama_perplexitys(tmp_path: Path, text: Path, quantized: Path) -> None:
    base = tmp_path / "base.bin"
    llama_perplexity("-m", smollm2(), "-f", text, "--kl-divergence-base", base)
    output = llama_perplexity("-m", quantized, "--kl-divergence-base", base, "--kl-divergence")
    result = ossctl("eval", "ppl", text, "-m", quantized, "--against", smollm2(), "--json", cwd=tmp_path)
    assert result.code == 0, result.stderr
    (found,) = json.loads(result.stdout)["results"]
    ours = found["divergence"]

    def same(label: str, value: dict[str, float], scale: float = 1) -> None:
        theirs = figures(label, output)
        assert [value["value"] * scale, value["error"] * scale] == pytest.approx(theirs, rel=1e-3, abs=1.1e-3)

    same(r"Mean PPL\(Q\)", found["perplexity"])
    same(r"Mean PPL\(base\)", ours["base_perplexity"])
    same(r"Mean PPL\(Q\)/PPL\(base\)", ours["perplexity_ratio"])
    same(r"Mean    Δp:", ours["delta_p"], 100)
    same(r"RMS Δp", ours["rms_delta_p"], 100)
    same(r"Same top p", ours["same_top"], 100)
    mean, error = figures(r"Mean    KLD", output)
    assert ours["kl_divergence"]["value"] == pytest.approx(mean, rel=1e-3)
    assert ours["kl_divergence"]["error"] == pytest.approx(error, rel=1e-3, abs=1e-6)
    for label, percent in (
        ("Maximum", "100"),
        ("99.9%", "99.9"),
        ("99.0%", "99"),
        ("90.0%", "90"),
        ("Median", "50"),
    ):
        (value,) = figures(rf"{label} +KLD", output)
        assert ours["kl_percentiles"][percent] == pytest.approx(value, rel=1e-3, abs=2e-6)
