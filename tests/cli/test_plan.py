"""`ossctl plan`: for hypothetical machines, as JSON, as llama-server arguments, and with bad input."""

import json
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ossctl.hub.catalogue import catalogue
from tests.support.command import Result, ossctl
from tests.support.hub import Hub
from tests.support.models import smollm2

MIB, GIB = 1 << 20, 1 << 30


def plan(folder: Path, *arguments: object, **variables: str) -> Result:
    return ossctl("plan", *arguments, cwd=folder, stdin=b"", **variables)


def record(folder: Path, *arguments: object) -> dict[str, Any]:
    result = plan(folder, *arguments, "--json")
    assert result.code == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_a_plan_says_where_the_model_goes_and_what_is_left(tmp_path: Path) -> None:
    result = plan(tmp_path, "120b", "--vram", "24GiB", "--ram", "64GiB")
    assert result.code == 0
    assert result.stderr == ""
    first, *rest = result.stdout.splitlines()
    assert re.fullmatch(
        r"gpt-oss-120b \(59\.0 GiB\): all layers on the GPU, experts of \d\d layers in RAM", first
    )
    assert any(re.match(r"GPU0 +23\.4 GiB", line) for line in rest)
    assert any(re.match(r"RAM +60\.8 GiB", line) for line in rest)
    assert "Generation is limited by RAM bandwidth" in result.stdout
    assert re.search(r"With a GPU of \d+ GiB: ", result.stdout)
    assert re.search(r"With --ctx 8192: ", result.stdout)


def test_a_device_beside_cpu_is_refused(tmp_path: Path) -> None:
    result = plan(tmp_path, "20b", "--vram", "24GiB", "--device", "GPU0,cpu")
    assert (result.code, result.stdout) == (2, "")
    assert "--device GPU0,cpu: GPUs and cpu cannot be combined" in result.stderr


def test_the_bars_show_every_purpose_and_have_equal_width(tmp_path: Path) -> None:
    result = plan(tmp_path, "20b", "--vram", "16GiB", "--ram", "32GiB")
    bars = [
        line.strip()
        for line in result.stdout.splitlines()
        if set(line.strip()) <= set("█▓▒░·") and line.strip()
    ]
    assert len(bars) == 2
    assert len({len(bar) for bar in bars}) == 1
    assert all(symbol in bars[0] for symbol in "█▓▒░·")


def test_without_unicode_the_bars_are_ascii(tmp_path: Path) -> None:
    result = plan(tmp_path, "20b", "--vram", "16GiB", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert result.code == 0
    assert result.stdout.isascii()
    assert "####" in result.stdout


def test_json_has_what_programs_rely_on(tmp_path: Path) -> None:
    found = record(tmp_path, "20b", "--vram", "16GiB", "--ram", "32GiB", "--ctx", "32768")
    assert found["schema"] == "ossctl.plan/1"
    assert found["fits"] is True
    assert found["model"] == "20b"
    settings = found["plan"]
    assert {
        "gpu_layers",
        "cpu_moe_layers",
        "ctx",
        "batch",
        "ubatch",
        "kv_type",
        "parallel",
        "threads",
    } <= set(settings)
    assert (settings["gpu_layers"], settings["cpu_moe_layers"], settings["ctx"]) == (25, 0, 32_768)
    gpu, ram = found["devices"]
    for device in (gpu, ram):
        used = sum(device[f"{what}_bytes"] for what in ("weights", "kv", "compute", "overhead"))
        assert 0 < used <= device["free_bytes"] <= device["total_bytes"]
    assert gpu["total_bytes"] == 16 * GIB
    assert (found["origins"]["ctx"], found["origins"]["ubatch"]) == ("user", "plan")


def test_cards_are_planned_for_by_name(tmp_path: Path) -> None:
    found = record(tmp_path, "20b", "--gpu", "RTX 4060 Ti 16GB", "--ram", "32GiB")
    assert found["devices"][0]["total_bytes"] == 15_944 * MIB
    (gpu, _) = record(tmp_path, "20b", "--gpu", "5090", "--ram", "32GiB")["devices"]
    assert (gpu["total_bytes"], gpu["free_bytes"]) == (32_105 * MIB, 31_600 * MIB)
    assert len(record(tmp_path, "20b", "--gpu", "RTX 3090", "--gpu", "RTX 3090")["devices"]) in (2, 3)


def test_a_size_in_mib_is_free_in_full(tmp_path: Path) -> None:
    (gpu, _) = record(tmp_path, "20b", "--vram", "32105MiB", "--ram", "32GiB")["devices"]
    assert gpu["free_bytes"] == gpu["total_bytes"] == 32_105 * MIB
    (gpu, _) = record(tmp_path, "20b", "--vram", "32GiB", "--ram", "32GiB")["devices"]
    assert gpu["free_bytes"] == int(32 * GIB * 0.975)


@pytest.mark.parametrize("computer", ["DGX Spark", "Strix Halo 128GB", "M2 Ultra 192GB"])
def test_a_computer_with_unified_memory_is_planned_for_by_name(tmp_path: Path, computer: str) -> None:
    gpu, ram = record(tmp_path, "120b", "--gpu", computer)["devices"]
    used = sum(gpu[f"{what}_bytes"] for what in ("weights", "kv", "compute", "overhead"))
    assert used > 60 * GIB
    assert ram["free_bytes"] == int(ram["total_bytes"] * 0.95) - used
    said = plan(tmp_path, "120b", "--gpu", computer).stdout
    assert "all on the GPU" in said
    assert "GPU0 shares the computer's RAM: memory that it uses is not available as RAM." in said
    assert "With a GPU of" not in said


def test_ctx_max_is_the_models(tmp_path: Path) -> None:
    found = record(tmp_path, "20b", "--vram", "12GiB", "--ram", "64GiB", "--ctx", "max")
    assert found["plan"]["ctx"] == 131_072
    assert found["origins"]["ctx"] == "user"


def test_a_batch_is_planned_for_many_sequences(tmp_path: Path) -> None:
    assert record(tmp_path, "20b", "--vram", "16GiB", "--ram", "32GiB", "--batch")["plan"]["parallel"] > 8


def test_a_local_file_of_any_architecture_is_planned(tmp_path: Path) -> None:
    found = record(tmp_path, smollm2(), "--vram", "4GiB")
    assert found["plan"]["gpu_layers"] == 31
    assert found["plan"]["ctx"] == 8192


def test_the_figures_are_llama_cpps_own_where_the_model_and_the_machine_are_here(tmp_path: Path) -> None:
    result = plan(tmp_path, smollm2(), "--ctx", 1024)
    assert "Weights, cache and compute are llama.cpp's own figures, asked for this plan." in result.stdout
    assert result.stderr == ""
    assert "own figures" not in plan(tmp_path, smollm2(), "--vram", "0").stdout


def test_a_model_that_llama_cpp_does_not_take_is_planned_by_prediction(tmp_path: Path) -> None:
    path = tmp_path / "newer.gguf"
    path.write_bytes(smollm2().read_bytes().replace(b"llama", b"camel"))
    result = plan(tmp_path, path, "--json")
    (said,) = result.said
    assert said.startswith("cannot ask llama.cpp what it would reserve: ")
    assert "unknown model architecture: 'camel'" in said
    assert json.loads(result.stdout)["figures"] == "predicted"


def test_without_a_model_all_are_compared(tmp_path: Path) -> None:
    result = plan(tmp_path, "--vram", "16GiB", "--ram", "16GiB")
    assert result.code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    assert "all on the GPU" in rows["20b"]
    assert "does not fit" in rows["120b"]
    assert "too large" in rows["deepseek-r1"]
    assert "`ossctl plan qwen3-30b` asks the hub" in rows["qwen3-30b"]
    both = json.loads(plan(tmp_path, "--vram", "16GiB", "--ram", "16GiB", "--json").stdout)
    assert both["schema"] == "ossctl.plans/1"
    fits = {each["model"]: each["fits"] for each in both["plans"]}
    assert fits == {"120b": False, "20b": True, "20b:lmstudio": True}
    others = {each["model"]: each["fits"] for each in both["unplanned"]}
    assert others["deepseek-r1"] is False
    assert others["qwen3-30b"] is None
    assert {*fits, *others} == {entry.name for entry in catalogue().entries}


def test_models_on_disk_are_compared_with_the_catalogues(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--org--smol" / "snapshots" / ("c" * 40)
    folder.mkdir(parents=True)
    (folder / "smol.gguf").symlink_to(smollm2())
    found = plan(tmp_path, "--ctx", 16384, "--ram", "32GiB", HF_HOME=str(tmp_path)).stdout.splitlines()
    (row,) = [line for line in found if line.startswith("hf:org/smol:smol.gguf ")]
    assert " yes " in row
    assert "8,192" in row, "a context beyond one model's own is said of that one"
    assert any(line.startswith("20b ") and "16,384" in line for line in found)


def test_a_model_on_the_hub_is_planned_from_its_header(tmp_path: Path) -> None:
    with Hub() as hub:
        hub.add("org/smol", {"smol-Q4_1.gguf": smollm2().read_bytes()})
        hub.add("org/noise", {"noise.gguf": bytes(3_000_000)})
        given = {**hub.variables, "HF_HOME": str(tmp_path / "hf")}
        remote = json.loads(plan(tmp_path, "hf:org/smol", "--json", **given).stdout)
        noise = plan(tmp_path, "hf:org/noise", **given)
        missing = plan(tmp_path, "hf:org/none", **given)
        assert hub.served == []
    local = record(tmp_path, smollm2())
    assert (remote["here"], local["here"]) == (False, True)
    assert (remote["figures"], local["figures"]) == ("predicted", "llama.cpp")
    assert remote["plan"] == local["plan"]
    assert (noise.code, missing.code) == (4, 4)
    assert "noise.gguf on the hub is not a GGUF file" in noise.said[0]
    assert "no public repository org/none" in missing.said[0]
    assert not (tmp_path / "hf").exists()


def test_offline_a_model_on_the_hub_is_an_error(tmp_path: Path) -> None:
    result = plan(tmp_path, "hf:org/smol", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert result.code == 4
    assert "HF_HUB_OFFLINE is set" in result.said[0]


def test_llama_args_is_one_command_line(tmp_path: Path) -> None:
    result = plan(tmp_path, "120b", "--vram", "24GiB,24GiB", "--ram", "64GiB", "--ctx", 16384, "--llama-args")
    (line,) = result.stdout.splitlines()
    assert line.startswith("llama-server -hf ggml-org/gpt-oss-120b-GGUF:MXFP4 -c 16384 ")
    assert re.search(r" -ngl 37 -ts \d+,\d+ (-ncmoe \d+|-ot .*=CPU.?) -fa on ", line)


# llama-server's options in common/arg.cpp of the llama.cpp that llama-cpp-python 0.3.36 carries
SERVER_OPTIONS = {
    "-m", "-hf", "-hff", "-c", "-np", "-kvu", "-no-kvu", "-b", "-ub", "-ctk", "-ctv", "-t", "-ngl", "-dev",
    "-ts", "-ncmoe", "-ot", "-fa", "-lm", "-fit", "-cram", "-nr",
}  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("20b", "--vram", "16GiB"),
        ("120b", "--vram", "24GiB,16GiB", "--ram", "96GiB"),
        ("120b", "--gpu", "3090", "--ram", "64GiB", "--batch"),
        ("20b", "--device", "cpu", "--ram", "24GiB"),
        ("20b", "--gpu", "M1 32GB"),
    ],
)
def test_llama_args_are_options_that_llama_server_has(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (line,) = plan(tmp_path, *arguments, "--llama-args").stdout.splitlines()
    program, *words = shlex.split(line)
    assert program == "llama-server"
    options = [word for word in words if re.fullmatch("-[a-z-]+", word)]
    assert set(options) <= SERVER_OPTIONS
    assert len(options) == len(set(options))
    values = dict(pairwise(words))
    assert int(values["-b"]) >= int(values["-ub"])


def test_llama_args_account_for_the_logits_of_a_ubatch(tmp_path: Path) -> None:
    arguments = ("20b", "--vram", "8GiB", "--ram", "64GiB", "--ctx", "32768")
    ours = record(tmp_path, *arguments)
    theirs = shlex.split(plan(tmp_path, *arguments, "--llama-args").stdout)
    values = dict(pairwise(theirs))
    left_behind = int(values["-ncmoe"]) - ours["plan"]["cpu_moe_layers"]
    logits = int(values["-ub"]) * 201_088 * 4
    assert 0 < left_behind <= logits / (404 * MIB) + 1


@pytest.mark.parametrize(("ram", "cache"), [("64GiB", 8192), ("12GiB", range(2000, 5000))])
def test_llama_args_limit_the_prompt_cache_to_free_ram(tmp_path: Path, ram: str, cache: int | range) -> None:
    line = shlex.split(plan(tmp_path, "20b", "--vram", "8GiB", "--ram", ram, "--llama-args").stdout)
    found = int(line[line.index("-cram") + 1])
    assert found == cache or (isinstance(cache, range) and found in cache)


@pytest.mark.parametrize(("kv", "flash"), [("f16", False), ("q8_0", True)])
def test_a_plan_without_a_gpu_includes_the_kind_of_attention(tmp_path: Path, kv: str, flash: bool) -> None:
    arguments = ("20b", "--device", "cpu", "--ram", "64GiB", "--ctx", 4096, "--kv", kv)
    assert json.loads(plan(tmp_path, *arguments, "--json").stdout)["plan"]["flash_attention"] is flash
    assert f" -fa {'on' if flash else 'off'} " in plan(tmp_path, *arguments, "--llama-args").stdout


def test_a_model_that_does_not_fit_is_exit_code_5_with_what_it_needs(tmp_path: Path) -> None:
    result = plan(tmp_path, "120b", "--vram", "8GiB", "--ram", "16GiB")
    assert result.code == 5
    assert result.stdout == ""
    assert "does not fit into" in result.said[0]
    assert "GiB of free RAM" in result.said[1]
    assert len(result.said) == 2


def test_a_model_that_does_not_fit_has_a_json_form(tmp_path: Path) -> None:
    result = plan(tmp_path, "120b", "--vram", "8GiB", "--ram", "16GiB", "--json")
    assert result.code == 5
    found = json.loads(result.stdout)
    assert (found["fits"], found["plan"]) == (False, None)
    assert found["needed_ram_bytes"] > 60 * GIB


def test_the_error_for_options_that_do_not_fit_names_a_value_that_does(tmp_path: Path) -> None:
    result = plan(tmp_path, "20b", "--vram", "8GiB", "--ram", "32GiB", "--cpu-moe", 2)
    assert result.code == 5
    nearest = re.search(r"It fits with --cpu-moe (\d+)\.", result.stderr)
    assert nearest is not None
    arguments = ("20b", "--vram", "8GiB", "--ram", "32GiB", "--cpu-moe", nearest[1])
    assert plan(tmp_path, *arguments).code == 0


BAD = {
    "a context beyond the model's": (["20b", "--ctx", "200000"], 2, "more than the 131,072"),
    "an unknown model": (["70b"], 4, "no model is called 70b"),
    "a missing file": (["missing.gguf"], 4, "no model file"),
    "a size that is none": (["20b", "--vram", "lots"], 2, "--vram: lots is not a size"),
    "an absurd size": (["20b", "--ram", "9999999TiB"], 2, "--ram"),
    "no RAM at all": (["20b", "--ram", "0"], 2, "--ram"),
    "an unknown card": (["20b", "--gpu", "RTX 4060 Turbo"], 2, "RTX 4060 Turbo"),
    "a Mac of no size": (["20b", "--gpu", "M4 Max"], 2, "memory of the M4 Max is missing"),
    "memory twice": (["20b", "--gpu", "DGX Spark", "--ram", "64GiB"], 2, "already sets the RAM"),
    "GPUs twice": (["20b", "--gpu", "T4", "--vram", "16GiB"], 2, "--vram and --gpu"),
    "an unknown device": (["20b", "--vram", "16GiB", "--device", "CUDA3"], 2, "no device CUDA3"),
    "no device's name": (["20b", "--device", ","], 2, "--device"),
    "layers on no GPU": (["20b", "--vram", "0", "--gpu-layers", "3"], 2, "needs a GPU"),
    "experts kept from no GPU": (["20b", "--device", "cpu", "--cpu-moe", "3"], 2, "--cpu-moe"),
    "layers against experts": (
        ["20b", "--vram", "8GiB", "--gpu-layers", "5", "--cpu-moe", "2"], 2, "more than --cpu-moe 2",
    ),
    "two outputs": (["20b", "--json", "--llama-args"], 2, "--json and --llama-args"),
    "arguments for no model": (["--llama-args"], 2, "needs a MODEL"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_an_error_of_two_lines(tmp_path: Path, name: str) -> None:
    arguments, code, says = BAD[name]
    result = plan(tmp_path, *arguments)
    assert (result.code, result.stdout) == (code, "")
    assert says in result.said[0]
    assert 1 <= len(result.said) <= 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--ctx", "0"),
        ("--ctx", "some"),
        ("--ubatch", "0"),
        ("--gpu-layers", "-1"),
        ("--cpu-moe", "-1"),
        ("--kv", "q3"),
    ],
)
def test_a_value_outside_its_range_is_a_usage_error(tmp_path: Path, option: str, value: str) -> None:
    result = plan(tmp_path, "20b", option, value)
    assert result.code == 2
    assert option in result.stderr


def test_a_damaged_header_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(smollm2().read_bytes()[:100_000])
    result = plan(tmp_path, path)
    assert result.code == 4
    assert "is damaged" in result.said[0]


@pytest.mark.skipif(shutil.which("head") is None, reason="needs head")
def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    import subprocess

    from tests.support.command import command, environment

    arguments = " ".join(command("plan", "20b", "--vram", "16GiB"))
    done = subprocess.run(
        ["sh", "-c", f"{arguments} | head -1"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("gpt-oss-20b")
    assert done.stderr == ""
