"""Values that a command parses itself: what it refuses, `config set` and `config check` refuse as well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ossctl.cli.command import path_of
from ossctl.cli.config_keys import ConfigKeys
from ossctl.cli.main import app
from ossctl.config.file import key_of
from ossctl.errors import OssctlError

PROGRAM: Any = typer.main.get_command(app)

WRONG = [
    ("batch.engines", "many", "--engines many: expected a number from 1, or auto"),
    ("batch.hosts", "head:22", "--hosts: head:22: a port can only be part of a URL"),
    ("batch.cluster", "head", "--cluster: head is not HOST:PORT"),
    ("batch.shard", "9/8", "--shard 9/8: the first number must be from 1 to the second"),
    ("batch.status.shard", "3", "--shard '3' is not of the form I/N"),
    ("batch.prompt", "{{ ", "--prompt: "),
    ("defaults.rpc", "head", "head is not the address of a worker"),
    ("worker.listen", "50052", "50052 is not the address of a worker"),
    ("defaults.device", "cpu,CUDA0", "--device cpu,CUDA0: GPUs and cpu cannot be combined"),
    ("plan.vram", "16GiB,much", "--vram: much is not a size"),
    ("plan.ram", "much", "--ram: much is not a size"),
    ("plan.gpu", "no such card", "no such card"),
    ("eval.effort", "low,huge", "--effort low,huge: 'huge' is not one of low, medium, high"),
    ("compare.think", "on,on", "--think on,on: on is given twice"),
    ("eval.model", "nano,,nano", "-m nano,,nano: the name of a model is empty"),
    ("eval.model", "qwen", "no model is called qwen"),
    ("eval.ppl.model", "nano,qwen", "no model is called qwen"),
    ("eval.ppl.against", "qwen", "no model is called qwen"),
    ("eval.judge", "qwen", "no model is called qwen"),
    ("run.model", "qwen", "no model is called qwen"),
    ("model.mine.model", "qwen", "no model is called qwen"),
    ("eval.task-arg", "x", "-T x: expected NAME=VALUE"),
    ("run.tool", "f", "--tool f: expected NAME=FILE"),
    ("run.tool-cmd", "f=no-such-program", "--tool-cmd f: there is no program no-such-program"),
    ("run.files", "missing", "missing: there is no such folder"),
    ("run.browser", "missing", "--browser missing: there is no such folder"),
    ("run.python-files", "missing", "missing: there is no such folder"),
    ("run.mcp", "x=", "--mcp x=: expected a command, a URL or a file of mcpServers"),
    ("run.system", "@missing", "missing: No such file or directory"),
    ("run.prompt", "@missing", "missing: No such file or directory"),
    ("run.var", "x", "--var x: expected NAME=VALUE"),
    ("run.template-var", "x", "template variable 'x' is not NAME=VALUE"),
    ("run.template", "missing", "missing: No such file or directory"),
    ("compare.template", "missing", "missing: No such file or directory"),
    ("run.stop", "", "--stop is an empty text"),
    ("run.regex", "(", "--regex: "),
    ("run.choice", '["a", ""]', "--choice: "),
    ("run.schema", "missing", "missing: No such file or directory"),
    ("run.grammar", "missing", "missing: No such file or directory"),
    ("compare.output", "answers.txt", "answers.txt: a comparison is written as .jsonl, .md or .html"),
    ("bench.compare", "missing", "missing: No such file or directory"),
]  # fmt: skip
# Any text or path will do, or what it names is looked for when the command starts.
FREE = {
    "as", "file", "mcp-tools", "of", "output", "report", "resume", "svg",
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OSSCTL_CONFIG", "OSSCTL_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OSSCTL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config" / "config.toml"
    file.parent.mkdir()
    return file


def run(*arguments: str) -> int:
    return PROGRAM.main([*arguments], "ossctl", standalone_mode=False) or 0


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_a_value_that_a_command_would_refuse_is_found(
    key: str, value: str, said: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OssctlError) as refused:
        run("config", "set", key, value)
    assert refused.value.message.startswith(key)
    assert said in refused.value.message
    assert not config.exists()
    section, _, name = key.rpartition(".")
    config.write_text(f"[{section}]\n{name} = {value if value[:1] == '[' else repr(value)}\n", "utf-8")
    assert run("config", "check") == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{config}, line ")
    assert said in line


def texts() -> Iterator[str]:
    """The options of texts and paths that Typer takes as they are."""
    for options in ConfigKeys(PROGRAM).commands.values():
        for name, option in options.items():
            described = option.type_descriptor
            plain = described.annotation in (str, list[str], Path, list[Path])
            if plain and described.parameter_info.parser in (None, path_of):
                yield name


def test_every_option_that_takes_text_is_checked_or_takes_any() -> None:
    checked = {key_of(key)[-1] for key, _, _ in WRONG}
    assert set(texts()) == checked | FREE
    assert not checked & FREE - {"output"}  # that of `compare` has to be of a kind


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch.engines", "auto"),
        ("batch.engines", "2"),
        ("batch.cluster", "auto"),
        ("batch.hosts", "a,user@b:~/ossctl"),
        ("worker.device", "CPU,CUDA0"),
        ("plan.gpu", '["4090", "4090"]'),
        ("plan.vram", "0"),
        ("eval.effort", "low,high"),
        ("eval.model", "20b,120b"),
        ("run.model", "./a.gguf"),
        ("cache.list.model", "anything"),
        ("run.tool-cmd", "f=python3 -c pass"),
        ("run.browser", "mcp:server --flag"),
        ("compare.output", "a.HTML"),
    ],
)
def test_a_value_that_a_command_takes_is_set(key: str, value: str, config: Path) -> None:
    assert run("config", "set", key, value) == 0
    assert run("config", "check") == 0
