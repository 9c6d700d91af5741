"""`make carry`: what is brought to a machine without network is for the Python of that machine."""

import pytest

from tools.devices.carry import own_requirements


@pytest.mark.parametrize(("python_version", "has_zstd"), [("3.12", True), ("3.14", False)])
def test_markers_are_those_of_the_other_python(python_version: str, *, has_zstd: bool) -> None:
    names = {requirement.partition(">")[0] for requirement in own_requirements(python_version)}
    assert ("backports.zstd" in names) is has_zstd
    assert {"hatchling", "typer", "numpy", "gguf"} <= names
    assert "llama-cpp-python" not in names  # comes as source
    assert not [name for name in names if ";" in name or " " in name]
