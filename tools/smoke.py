"""Install a wheel or an sdist of ossctl into a fresh environment and use it: python -m tools.smoke dist/*."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

NEEDED_IN_SDIST = ("LICENSE", "CHANGELOG.md", "completions/ossctl.1", "tests/conftest.py", "Makefile")
PROMPTS = ['{"custom_id": "a", "prompt": "What is 2 + 2?"}', '{"custom_id": "b", "prompt": "What is 3 + 4?"}']


def main() -> None:
    for name in sys.argv[1:]:
        artifact = Path(name).resolve()
        check_contents(artifact)
        with tempfile.TemporaryDirectory() as folder:
            use(artifact, Path(folder))
        print(f"{artifact.name}: installed, and answers")


def check_contents(artifact: Path) -> None:
    """Assert that a wheel holds the package with its data and nothing else, and that an sdist is whole."""
    if artifact.suffix == ".whl":
        with zipfile.ZipFile(artifact) as wheel:
            names = wheel.namelist()
        strangers = {name.split("/")[0] for name in names} - {"ossctl"}
        assert all(name.endswith(".dist-info") for name in strangers), strangers
        assert {"ossctl/data/nano.gguf", "ossctl/data/probe.gguf"} <= set(names)
    else:
        with tarfile.open(artifact) as sdist:
            names = [name.partition("/")[2] for name in sdist.getnames()]
        missing = [name for name in NEEDED_IN_SDIST if name not in names]
        assert not missing, missing


def use(artifact: Path, folder: Path) -> None:
    """Install `artifact` into an environment in `folder`, and run every command that needs no network."""
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python, ossctl = str(scripts / "python"), str(scripts / "ossctl")
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment["HF_HUB_OFFLINE"] = "1"

    def run(*command: str, text: str = "", **more: str) -> str:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment | more,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run(python, "-m", "pip", "install", "-q", "--no-deps", str(artifact))
    run(python, "-m", "ossctl.build")  # llama.cpp, with the flags that this compiler needs
    run(python, "-m", "pip", "install", "-q", str(artifact))
    environment["OSSCTL_HOME"] = str(folder / "home")
    run(python, "-m", "pip", "check")
    version = artifact.name.split("-")[1].removesuffix(".tar.gz")
    assert version in run(ossctl, "--version")
    for command in ("chat", "run", "batch", "plan", "pull", "doctor"):
        assert f"ossctl {command}" in run(ossctl, command, "--help")
    assert "4" in run(ossctl, "run", "-m", "nano", "What is 2 + 2?")
    assert "7" in run(ossctl, "chat", "-m", "nano", text="What is 3 + 4?\n")
    (folder / "in.jsonl").write_text("\n".join(PROMPTS), "utf-8")
    run(ossctl, "batch", "in.jsonl", "-o", "out.jsonl", "-m", "nano")
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    assert sorted(record["custom_id"] for record in records) == ["a", "b"]
    assert all(record["error"] is None for record in records)
    assert "gpt-oss-20b" in run(ossctl, "plan", "20b", "--gpu", "RTX 4090", "--ram", "64GiB")
    run(ossctl, "doctor")


if __name__ == "__main__":
    main()
