"""`ossctl doctor`: checks with fixes, and the exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from ossctl.app.doctor import checks
from ossctl.app.library.inventory import list_models
from ossctl.app.placement.self_test import (
    ProbeFailure,
    ProbeRun,
    _failure,
    difference,
    is_wrong,
    probe,
)
from tests.support.command import environment, ossctl
from tests.support.llama_oracle import has_rpc
from tests.support.models import smollm2
from tests.support.rpc_servers import rpc_server


def test_a_healthy_installation_is_exit_code_0(tmp_path: Path) -> None:
    for name in ("json", "numpy", "msgspec", "re", "sitecustomize"):  # nothing here is imported
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    result = ossctl("doctor", "-m", smollm2(), cwd=tmp_path, stdin=b"", HF_HOME=str(tmp_path))
    assert result.code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert all(line.startswith(("✓ ", "· ")) for line in lines)
    names = {line[2:].split()[0] for line in lines}
    assert names == {
        *("program", "build", "device", "memory", "disk", "models", "settings", "kernels", "self-test")
    }
    assert any("compiled by " in line for line in lines)
    assert "tokens/s" in lines[-1]


def test_m_takes_the_same_references_as_other_commands(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--a--b" / "snapshots" / "0"
    folder.mkdir(parents=True)
    (folder / "small.gguf").symlink_to(smollm2())
    given = {"HF_HOME": str(tmp_path)}
    assert (
        "small.gguf on the CPU" in ossctl("doctor", "-m", "hf:a/b", cwd=tmp_path, stdin=b"", **given).stdout
    )
    wrong = ossctl("doctor", "-m", "hf:a/c", cwd=tmp_path, stdin=b"", **given)
    assert (wrong.code, wrong.stdout) == (4, "")
    assert "hf:a/c is not on this machine" in wrong.said[0]
    unknown = ossctl("doctor", cwd=tmp_path, stdin=b"", OSSCTL_MODEL="21b", **given)
    assert unknown.code == 1
    assert "no model is called 21b" in unknown.stdout


def test_json_says_the_same(tmp_path: Path) -> None:
    result = ossctl("doctor", "--json", cwd=tmp_path, stdin=b"", HF_HOME=str(tmp_path))
    found = json.loads(result.stdout)
    assert (found["schema"], found["ok"]) == ("ossctl.doctor/1", True)
    assert {tuple(check) for check in found["checks"]} == {("name", "state", "message", "fix")}
    (test,) = [check for check in found["checks"] if check["name"] == "self-test"]
    assert "nano.gguf on the CPU" in test["message"]


def test_the_smallest_model_in_the_cache_is_the_default(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--a--b" / "snapshots" / "0"
    folder.mkdir(parents=True)
    (folder / "small.gguf").symlink_to(smollm2())
    (folder / "larger.gguf").write_bytes(b"GGUF" + bytes(200_000_000))
    result = ossctl("doctor", cwd=tmp_path, stdin=b"", HF_HOME=str(tmp_path))
    assert "1 model on this machine" in result.stdout
    assert "small.gguf on the CPU" in result.stdout
    assert result.code == 1
    lines = result.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("✗ models"))
    assert "larger.gguf is damaged" in lines[at]
    assert "`ossctl rm hf:a/b:larger.gguf` deletes it" in lines[at + 1]


def test_a_problem_is_exit_code_1_with_a_fix(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(smollm2().read_bytes()[:100_000])
    result = ossctl("doctor", "-m", broken, cwd=tmp_path, stdin=b"")
    assert result.code == 1
    at = next(n for n, line in enumerate(result.stdout.splitlines()) if line.startswith("✗ self-test"))
    assert "is damaged" in result.stdout.splitlines()[at]
    assert "Try another model with -m." in result.stdout.splitlines()[at + 1]
    assert result.stderr == ""


def test_a_missing_model_is_a_model_error(tmp_path: Path) -> None:
    result = ossctl("doctor", "-m", "missing.gguf", cwd=tmp_path)
    assert (result.code, result.stdout) == (4, "")
    assert "no model file at missing.gguf" in result.said[0]


def test_a_disk_that_is_full_of_models_needs_no_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hub" / "models--a--b" / "snapshots" / "0"
    folder.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(checks, "free_bytes", lambda _: 1_000_000_000)
    assert {check.state for check in checks._disk([])} == {checks.Severity.FIX}
    (folder / "small.gguf").symlink_to(smollm2())
    assert {check.state for check in checks._disk(list_models())} == {checks.Severity.NOTE}


def test_without_unicode_the_marks_are_ascii(tmp_path: Path) -> None:
    variables = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    result = ossctl("doctor", cwd=tmp_path, stdin=b"", **variables)
    assert result.stdout.isascii()
    assert result.stdout.startswith("ok program")


@pytest.mark.parametrize(
    ("code", "stderr", "crashed"),
    [
        (-4, "", True),
        (-6, "ggml-cuda.cu:99: CUDA error: an illegal memory access was encountered\n", True),
        (-6, "CUDA error: out of memory\n  current device: 0\n", False),
        (-6, "vk::Device::allocateMemory: ErrorOutOfDeviceMemory: failed to allocate\n", False),
        (-9, "", False),
        (-2, "", False),
        (1, "there is no device CUDA9\n", False),
        (0xC000001D, "", True),
    ],
)
def test_a_crash_is_the_targets_fault_unless_memory_is_short(code: int, stderr: str, crashed: bool) -> None:
    found = _failure(code, stderr)
    assert found.crashed is crashed
    assert found.reason


def test_an_unknown_device_is_a_failure_with_a_reason() -> None:
    found = probe(smollm2(), "CUDA9")
    assert found == {"CUDA9": ProbeFailure("there is no device CUDA9")}


@pytest.mark.parametrize(
    ("logits", "wrong"),
    [
        ([0.0, 1.0, 10.0], False),
        ([0.01, 1.02, 10.1], False),
        ([5.0, 1.0, 3.0], True),
        ([float("nan")] * 3, True),
    ],
)
def test_logits_beyond_rounding_are_wrong(logits: list[float], wrong: bool) -> None:
    assert (
        is_wrong(difference(ProbeRun([0.0, 1.0, 10.0], [2], 1.0, 1.0), ProbeRun(logits, [2], 1.0, 1.0)))
        is wrong
    )


ON_RPC = """
import ctypes, sys
from pathlib import Path
from ossctl.runtime.bindings import lib
from ossctl.app.placement.self_test import _generate, difference
from ossctl.runtime.ggml import function

lib.llama_backend_init()
pointer = ctypes.c_void_p
registered = function("ggml_backend_rpc_add_server", pointer, ctypes.c_char_p)(sys.argv[2].encode())
function("ggml_backend_register", None, pointer)(registered)
cpu, other = (_generate(Path(sys.argv[1]), device) for device in ("cpu", "RPC0"))
assert cpu.tokens == other.tokens
print(difference(cpu, other))
"""


@has_rpc
def test_an_rpc_device_gives_the_logits_of_the_cpu(tmp_path: Path) -> None:
    path = os.pathsep.join(sys.path)
    with rpc_server() as address:
        done = subprocess.run(
            [sys.executable, "-c", ON_RPC, str(smollm2()), address],
            env={**environment(tmp_path), "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not is_wrong(float(done.stdout))
