"""`ossctl run --log` and `ossctl log`: what the user asked for is kept, shown, continued and deleted."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ossctl.app.library.resolve import has_nano
from ossctl.storage.sessions import Sessions, StoredMessage
from tests.support.command import Record, Result, environment, ossctl, start

if not has_nano():
    pytest.skip("nano is not made yet: make nano", allow_module_level=True)

NANO = ("-q", "-m", "nano", "-t", 0, "--threads", 1)
NORWAY = ("What is the capital of Norway?",)
WARNING = "nano is a test and demo model that knows almost nothing."


def database(folder: Path) -> Path:
    return folder / "home" / "data" / "ossctl.db"


def run(folder: Path, *arguments: object, stdin: bytes = b"", **variables: str) -> Result:
    return ossctl("run", *NANO, *arguments, cwd=folder, stdin=stdin, **variables)


def logged(folder: Path) -> list[Record]:
    """The runs in the log, the latest first."""
    result = ossctl("log", "--json", cwd=folder)
    assert result.code == 0
    return list(json.loads(result.stdout)["runs"])


def messages(folder: Path, *reference: str) -> list[str]:
    """The messages of a run, or the latest."""
    result = ossctl("log", "show", *reference, "--json", cwd=folder)
    return [message["content"] for message in json.loads(result.stdout)["messages"]]


def test_a_run_is_kept_only_if_the_user_wants_it(tmp_path: Path) -> None:
    assert run(tmp_path, *NORWAY, "--no-log", OSSCTL_LOG="1").code == 0
    assert not database(tmp_path).exists()
    assert ossctl("log", cwd=tmp_path).said[0].startswith("The log is empty.")
    assert ossctl("run", "-c", "x", cwd=tmp_path).said[0] == "ossctl: there is no run to continue"
    assert run(tmp_path, *NORWAY, OSSCTL_LOG="1") == Result(
        0, "The capital of Norway is Oslo.\n", f"{WARNING}\n"
    )
    assert messages(tmp_path) == [*NORWAY, "The capital of Norway is Oslo."]
    if sys.platform != "win32":
        assert database(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_run_continues_the_latest_one_with_its_model_instructions_files_and_settings(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes.txt").write_text("Anna brings the slides.", "utf-8")
    first = run(tmp_path, *NORWAY, "-f", "notes.txt", "-s", "Be brief.", "--log", "-n", 60, "--seed", 5)
    assert first.code == 0
    again = ossctl("run", "-q", "-c", "And of France?", "--json", cwd=tmp_path)
    document = json.loads(again.stdout)
    assert (document["model"], document["seed"]) == ("nano, a test and demo model", 6)
    assert (document["settings"]["temperature"], document["settings"]["max_tokens"]) == (0, 60)
    given = ossctl(
        "run", "-q", "-c", "-t", 0.5, "--seed", 9, "--json", "And of Italy?", "--no-log", cwd=tmp_path
    )
    settings = json.loads(given.stdout)["settings"]
    assert (settings["temperature"], settings["max_tokens"]) == (0.5, 60)
    assert len(logged(tmp_path)) == 1
    prompt, answer, *others = messages(tmp_path)
    assert prompt == "What is the capital of Norway?\n\nnotes.txt:\n```\nAnna brings the slides.\n```"
    assert [f"{answer}\n", *others] == [first.stdout, "And of France?", document["answer"]]
    with sqlite3.connect(database(tmp_path)) as read:
        (record,) = read.execute("SELECT settings FROM sessions").fetchone()
    record = json.loads(record)
    assert (record["system"], record["seed"], record["model"]["reference"]) == ("Be brief.", 5, "nano")


@pytest.mark.parametrize(
    ("arguments", "other", "command"),
    [
        (("log", "show", "CHAT"), "chat", "run"),
        (("log", "delete", "CHAT", "-y"), "chat", "run"),
        (("sessions", "show", "RUN"), "run", "chat"),
        (("sessions", "export", "RUN"), "run", "chat"),
        (("sessions", "delete", "RUN", "-y"), "run", "chat"),
    ],
)
def test_a_chat_is_no_run_and_a_run_no_chat(
    arguments: tuple[str, ...], other: str, command: str, tmp_path: Path
) -> None:
    database(tmp_path).parent.mkdir(parents=True)
    with closing(Sessions.open(database(tmp_path))) as sessions:
        ids = {"CHAT": sessions.create("a chat", "{}"), "RUN": sessions.create("a run", "{}", kind="run")}
        result = ossctl(*(ids.get(each, each) for each in arguments), cwd=tmp_path)
        assert len(sessions.recent()) == 2
    wrong = ids[other.upper()]
    assert (result.code, result.stdout) == (2, "")
    assert result.said == [
        f"ossctl: there is no {command} {wrong}",
        f"{wrong} is a {other}. `ossctl sessions list` shows chats, `ossctl log` runs.",
    ]


@pytest.mark.parametrize(
    ("words", "offered"),
    [("log show", "run"), ("log delete", "run"), ("sessions show", "chat"), ("sessions delete", "chat")],
)
def test_the_shell_completes_ids_of_the_commands_own_kind(words: str, offered: str, tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(parents=True)
    with closing(Sessions.open(database(tmp_path))) as sessions:
        ids = {"chat": sessions.create("a chat", "{}"), "run": sessions.create("a run", "{}", kind="run")}
    shell = {"_OSSCTL_COMPLETE": "complete_bash", "COMP_WORDS": f"ossctl {words} ", "COMP_CWORD": "3"}
    result = subprocess.run(
        [Path(sys.executable).with_name("ossctl")],
        env={**environment(tmp_path), **shell},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stdout.split() == [ids[offered]]


def test_runs_are_listed_searched_shown_and_deleted(tmp_path: Path) -> None:
    assert run(tmp_path, *NORWAY, "--log", "--n", 2).code == 0
    assert run(tmp_path, "What is 47 plus 38?", "--log").code == 0
    latest, second, first = logged(tmp_path)
    assert (latest["title"], latest["excerpt"]) == ("What is 47 plus 38?", "47 + 38 = 85.")
    assert second["title"] == first["title"] == NORWAY[0]
    heading, row = ossctl("log", "-n", 1, cwd=tmp_path).stdout.splitlines()
    assert heading.split() == ["id", "last", "used", "first", "prompt", "latest", "answer"]
    assert row.startswith(f"{latest['id']}  2")
    assert row.endswith("  What is 47 plus 38?  47 + 38 = 85.")
    hits = ossctl("log", "search", "cap", "oslo", cwd=tmp_path).stdout.splitlines()
    assert [hit.split()[0] for hit in hits] == [second["id"], first["id"]]
    shown = ossctl("log", "show", first["id"], cwd=tmp_path).stdout
    assert "## You\n\nWhat is the capital of Norway?\n\n## nano" in shown
    resumed = run(tmp_path, "And of France?", "--resume", first["id"])
    assert resumed.stdout == "The capital of France is Paris.\n"
    assert messages(tmp_path, first["id"])[2:] == ["And of France?", "The capital of France is Paris."]
    chats = ossctl("sessions", "list", "--json", cwd=tmp_path)
    assert json.loads(chats.stdout)["sessions"] == []
    deleted = ossctl("log", "delete", first["id"], "-y", "--json", cwd=tmp_path)
    assert json.loads(deleted.stdout) == {"schema": "ossctl.log-delete/1", "deleted": [first["id"]]}
    assert [each["id"] for each in logged(tmp_path)] == [latest["id"], second["id"]]
    Sessions.open(database(tmp_path)).create("a chat", "{}")
    assert ossctl("log", "delete", "--all", "-y", cwd=tmp_path).said == ["2 runs deleted."]
    assert logged(tmp_path) == []
    assert json.loads(ossctl("sessions", "list", "--json", cwd=tmp_path).stdout)["sessions"]


@pytest.mark.slow
def test_text_without_a_chat_format_is_continued_as_text(tmp_path: Path) -> None:
    first = run(tmp_path, "--raw", "--log", "The capital", "-n", 5)
    again = ossctl("run", "-q", "-c", " of Norway", "--json", cwd=tmp_path)
    together = f"The capital{first.stdout[:-1]} of Norway"
    alone = run(tmp_path, "--raw", "--json", "-n", 5, stdin=together.encode())
    assert json.loads(again.stdout)["answer"] == json.loads(alone.stdout)["answer"]
    refused = ossctl("run", "-c", "x", "-s", "Be brief.", cwd=tmp_path)
    assert refused.said[0] == "ossctl: --system cannot be used with --raw"
    assert run(tmp_path, *NORWAY, "--log").code == 0
    refused = ossctl("run", "-c", "x", "--raw", cwd=tmp_path)
    assert refused.said == ["ossctl: --raw cannot continue a conversation in a chat format"]


def test_a_format_holds_for_the_next_run_as_well(tmp_path: Path) -> None:
    assert run(tmp_path, "Where?", "--regex", "[a-z]{9}", "--log", "--max-reasoning-tokens", 0).code == 0
    again = ossctl("run", "-q", "-c", "And now?", cwd=tmp_path)
    assert re.fullmatch("[a-z]{9}\n", again.stdout)
    cut = ossctl("run", "-q", "-c", "And now?", "-n", 12, cwd=tmp_path)
    assert (cut.code, cut.stdout) == (6, "")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_answer_that_is_interrupted_is_kept_as_far_as_it_was_printed(tmp_path: Path) -> None:
    arguments = ("--raw", "--log", "--seed", 1, "-t", 1, "Count", "--ctx", 32_000)
    with start("run", "-q", "-m", "nano", *arguments, cwd=tmp_path) as running:
        running.end_input()
        assert running.process.stdout is not None
        first = running.process.stdout.read(1)
        running.process.send_signal(signal.SIGINT)
        result = running.finish()
    assert result.code == 130
    assert result.said == [WARNING, "ossctl: interrupted"]
    prompt, answer = messages(tmp_path)
    assert prompt == "Count"
    assert answer.strip() == (first.decode() + result.stdout).strip()


def test_the_answer_is_printed_even_if_it_cannot_be_kept(tmp_path: Path) -> None:
    path = database(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all" * 1_000)
    result = run(tmp_path, *NORWAY, "--log")
    assert (result.code, result.stdout) == (0, "The capital of Norway is Oslo.\n")
    warning, problem = result.said
    assert warning == WARNING
    assert problem.startswith(f"This run is not in the log: {path} is damaged")


def test_an_answer_that_cannot_be_written_is_kept(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    result = run(tmp_path, *NORWAY, "--log", "-o", full)
    assert result.code == 1
    assert messages(tmp_path)[1:] == ["The capital of Norway is Oslo."]


def test_a_run_whose_model_is_gone_can_be_continued_with_another(tmp_path: Path) -> None:
    settings = '{"model": {"reference": "120b"}}'
    sessions = Sessions.open(database(tmp_path))
    session = sessions.create("a title", settings, kind="run")
    sessions.extend(
        session, [StoredMessage("user", "Hello"), StoredMessage("assistant", "Hi")], settings, None
    )
    gone = ossctl("run", "-c", "x", cwd=tmp_path, HF_HOME=str(tmp_path))
    assert gone.code == 4
    assert gone.said[0] == "ossctl: the model of this run: gpt-oss-120b (mxfp4) is not on this machine"
    assert f"`ossctl run --resume {session} -m MODEL`" in gone.stderr
    assert run(tmp_path, "-c", *NORWAY).stdout == "The capital of Norway is Oslo.\n"


def test_served_requests_are_not_logged(tmp_path: Path) -> None:
    refused = run(tmp_path, "--serve-stdin", "--log")
    assert (refused.code, refused.said[0]) == (2, "ossctl: --log cannot be used with --serve-stdin")
