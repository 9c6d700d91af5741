"""`ossctl batch` without its model: exit 4 and the commands that help off a terminal, an offer on one."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossctl.app.library.resolve import has_nano
from ossctl.hub.catalogue import catalogue
from tests.support.command import Result, command, environment, ossctl, records_in, write_jsonl
from tests.support.hub import Hub
from tests.support.models import byte_gpt_oss, enormous, smollm2

GPT_OSS = ("ggml-org/gpt-oss-20b-GGUF", "gpt-oss-20b-MXFP4.gguf")
SMOL = ("org/smol-GGUF", "smol-Q4_1.gguf")
OPTIONS = ("--ctx", 512, "--parallel", 1, "--threads", 1)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub() as served:
        tiny = byte_gpt_oss(tmp_path_factory.mktemp("tiny")).read_bytes()
        served.add(GPT_OSS[0], {GPT_OSS[1]: tiny}, newest=catalogue().entry("20b").variant.revision)
        served.add(SMOL[0], {SMOL[1]: smollm2().read_bytes()})
        yield served


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "in.jsonl", {"prompt": "Hi", "max_tokens": 4})
    return tmp_path


def variables(hub: Hub, home: Path) -> dict[str, str]:
    empty = dict.fromkeys(("LLAMA_CACHE", "OLLAMA_MODELS", "XDG_CACHE_HOME"), "")
    return {
        **hub.variables,
        **empty,
        "HF_HOME": str(home / "hf"),
        "HOME": str(home),
        "USERPROFILE": str(home),
    }


def run(hub: Hub, home: Path, *arguments: object, **more: str) -> Result:
    return ossctl(*arguments, cwd=home, stdin=b"", **{**variables(hub, home), **more})


def batch(hub: Hub, home: Path, *arguments: object, **more: str) -> Result:
    return run(hub, home, "batch", "in.jsonl", *arguments, *OPTIONS, **more)


def place(home: Path, repo: str, name: str, data: bytes, commit: str = "c" * 40) -> Path:
    """A file as another tool has left it in the Hugging Face cache, never verified."""
    path = home / "hf" / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / commit / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_without_any_model_the_two_commands_that_help_are_named(hub: Hub, home: Path) -> None:
    result = batch(hub, home)
    another = "-m nano is a small model to try" if has_nano() else "`ossctl ls -a` lists others"
    assert result.code == 4
    assert result.said == [
        "ossctl: there is no gpt-oss model on this machine",
        f"`ossctl pull 20b` fetches one, 12.1 GB; {another}.",
    ]
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("120b", ["gpt-oss-120b (mxfp4) is not on this machine", "`ossctl pull 120b` fetches it: 63.4 GB."]),
        (
            "hf:org/x:Q8_0",
            ["hf:org/x:Q8_0 is not on this machine", "`ossctl pull hf:org/x:Q8_0` fetches it."],
        ),
        ("12b", ["no model is called 12b", "Did you mean 120b or 20b? `ossctl ls --all` lists all names."]),
        ("no.gguf", ["no model file at no.gguf", "Check the path."]),
    ],
)
def test_a_model_that_is_not_here_is_exit_code_4(
    hub: Hub, home: Path, reference: str, said: list[str]
) -> None:
    for result in (batch(hub, home, "-m", reference), batch(hub, home, OSSCTL_MODEL=reference)):
        assert result.code == 4
        assert result.said == [f"ossctl: {said[0]}", said[1]]
    assert hub.served == []


def test_a_pulled_model_is_used_by_its_name_and_then_was_used(hub: Hub, home: Path) -> None:
    assert run(hub, home, "pull", f"hf:{SMOL[0]}").code == 0
    hub.served.clear()
    result = batch(hub, home, "-m", f"hf:{SMOL[0]}")
    assert result.code == 0
    assert len(records_in(result.stdout)) == 1
    assert len(result.said) == 1  # the summary: nothing to warn of
    assert "never" not in run(hub, home, "ls").stdout


def test_without_m_the_largest_gpt_oss_model_here_is_used(hub: Hub, home: Path) -> None:
    tiny = hub.repositories[GPT_OSS[0]].commits[0][GPT_OSS[1]]
    small = place(home, "org/small", "small.gguf", tiny)
    large = place(home, "org/large", "large.gguf", tiny + bytes(4096))
    place(home, "org/other", "other.gguf", smollm2().read_bytes())
    assert batch(hub, home, "--max-reasoning-tokens", 1).code == 0
    used = run(hub, home, "ls").stdout.splitlines()
    assert [line.split()[0] for line in used if "never" not in line][1:] == [f"hf:org/large:{large.name}"]
    assert small.exists()


def test_without_m_what_does_not_fit_is_passed_over(hub: Hub, home: Path) -> None:
    data = enormous(home / "vast.gguf").read_bytes()
    place(home, "org/vast", "vast.gguf", data + bytes(1_000_000))
    alone = batch(hub, home)
    assert alone.code == 5
    assert "does not fit into" in alone.said[0]
    place(home, "org/small", "small.gguf", hub.repositories[GPT_OSS[0]].commits[0][GPT_OSS[1]])
    assert batch(hub, home, "--max-reasoning-tokens", 1).code == 0


def test_without_m_what_does_not_fit_with_the_options_given_is_passed_over(hub: Hub, home: Path) -> None:
    tiny = hub.repositories[GPT_OSS[0]].commits[0][GPT_OSS[1]]
    place(home, "org/small", "small.gguf", tiny)
    length = [b"gpt-oss.context_length" + struct.pack("<II", 4, n) for n in (1 << 17, 1 << 30)]
    vast = tiny.replace(length[0], length[1])
    place(home, "org/vast", "vast.gguf", vast + bytes(4096))
    ctx = ("--ctx", "max", "--parallel", 1, "--threads", 1, "--max-reasoning-tokens", 1)
    alone = run(hub, home, "batch", "in.jsonl", "-m", "hf:org/vast", *ctx)
    assert (alone.code, run(hub, home, "batch", "in.jsonl", *ctx).code) == (5, 0)
    assert batch(hub, home, "-m", "hf:org/vast", "--max-reasoning-tokens", 1).code == 0


def test_a_model_that_was_never_verified_says_so_until_it_is(hub: Hub, home: Path) -> None:
    assert run(hub, home, "pull", f"hf:{SMOL[0]}").code == 0
    (home / "home" / "state" / "models.db").unlink()
    name = f"hf:{SMOL[0]}:{SMOL[1]}"
    result = batch(hub, home, "-m", f"hf:{SMOL[0]}")
    assert result.code == 0
    assert result.said[0] == f"{name} was never verified: `ossctl verify {name}` checks its sha256."
    assert run(hub, home, "verify", name).code == 0
    assert len(batch(hub, home, "-m", name).said) == 1


def test_a_part_that_is_missing_is_seen_before_anything_is_loaded(hub: Hub, home: Path) -> None:
    place(home, "org/split", "m-00001-of-00002.gguf", smollm2().read_bytes())
    result = batch(hub, home, "-m", "hf:org/split")
    assert result.code == 4
    assert "is incomplete: m-00002-of-00002.gguf is missing" in result.said[0]
    assert "`ossctl pull hf:org/split:m-00001-of-00002.gguf` fetches what is missing." in result.said[1]


def test_a_later_part_that_is_cut_is_seen_before_anything_is_loaded(hub: Hub, home: Path) -> None:
    place(home, "org/split", "m-00001-of-00002.gguf", smollm2().read_bytes())
    place(home, "org/split", "m-00002-of-00002.gguf", smollm2().read_bytes()[:-5000])
    result = batch(hub, home, "-m", "hf:org/split")
    assert result.code == 4
    assert "m-00002-of-00002.gguf is incomplete" in result.said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ("", 0, "20b is ready"),
        ("what?", 0, "20b is ready"),
        ("n", 4, "there is no gpt-oss model on this machine"),
        pytest.param(
            "nano",
            None,
            "nano is a test and demo model",
            marks=pytest.mark.skipif(not has_nano(), reason="nano is not made yet: make nano"),
        ),
    ],
)
def test_on_a_terminal_it_is_offered(hub: Hub, home: Path, answer: str, code: int | None, says: str) -> None:
    import pexpect

    program, *arguments = command("batch", "in.jsonl", "--max-reasoning-tokens", 1, *OPTIONS)
    found = environment(home, **variables(hub, home))
    terminal = pexpect.spawn(
        program, arguments, env=found, cwd=str(home), encoding="utf-8", timeout=60, dimensions=(24, 200)
    )
    terminal.expect("There is no gpt-oss model on this machine.")
    terminal.expect("Recommended for this machine: 20b")
    terminal.expect(f"{GPT_OSS[1]} · 0.5 MB")
    terminal.expect(rf"to fetch into {home / 'hf' / 'hub'}, [\d.]+ m?s at 100 Mbit/s")
    choices = "[Y/n/nano]" if has_nano() else "[Y/n]"
    terminal.expect_exact(f"Fetch it{', or try nano first' if has_nano() else ''}? {choices}")
    assert not (home / "hf").exists()
    terminal.sendline(answer)
    if answer == "what?":
        terminal.expect_exact(choices)
        terminal.sendline("y")
    written = terminal.read()
    terminal.close()
    assert says in written
    assert code in (None, terminal.exitstatus)
    assert (home / "hf").exists() == (code == 0)
