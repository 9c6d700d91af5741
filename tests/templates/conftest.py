"""Fixtures for tests of chat templates."""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def llama_cpp_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of llama.cpp: those in LLAMA_CPP_SOURCE, or of the installed version."""
    given = os.environ.get("LLAMA_CPP_SOURCE")
    if given:
        return Path(given)
    target = tmp_path_factory.mktemp("sources")
    wanted = f"llama-cpp-python=={importlib.metadata.version('llama-cpp-python')}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", wanted]
    subprocess.run(command, cwd=target, check=True)
    archive = next(target.glob("*.tar.gz"))
    with tarfile.open(archive) as sources:
        sources.extractall(target, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz")) / "vendor" / "llama.cpp"
