"""`ossctl chat` on a real pseudo-terminal: what is seen, typed and kept."""

import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import ossctl
from tests.support.models import smollm2

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from tests.support.terminal import Terminal

MODEL = ("-m", smollm2(), "--threads", 1, "-t", 0)
LOADED = "Smollm2 135M"  # in the toolbar
# Likewise, and with no upper limit: a busy machine shows few of the numbers.
ANSWERING = r"answering · (?:[4-9]\d|\d[\d,]*\d\d) tokens"
STATISTICS = r"\d+ tokens? · .*prefilled"


def chat(folder: Path, *arguments: object, columns: int = 100, **variables: str) -> Terminal:
    return Terminal("chat", *MODEL, *arguments, cwd=folder, columns=columns, rows=30, variables=variables)


def rows_of(folder: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "home" / "data" / "ossctl.db") as database:
        return database.execute(query).fetchall()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with chat(tmp_path, "--ctx", 2048, "-n", 40) as opened:
        yield opened


def test_a_conversation_from_the_first_key_to_the_next_day(tmp_path: Path) -> None:
    with chat(tmp_path, "-n", 30) as terminal:
        terminal.wait(r"(?m)^> *$")
        terminal.enter("What is gravity?")  # the model is not there yet
        terminal.wait(STATISTICS)
        terminal.settle()
        said = ossctl("run", *MODEL, "-n", 30, "What is gravity?", cwd=tmp_path).stdout.strip()
        assert " ".join(said.split()) in " ".join(terminal.text.split())
        assert re.search(
            r"Smollm2 .* · [\d.]+ tokens/s · .*context \d+ of [\d,]+ \(\d+ %\)", terminal.lines[-1]
        )
        terminal.press("\x04")
        session = terminal.wait(r"Saved: ossctl chat --resume (\w+)")[1]
        assert terminal.end() == 0
    with chat(tmp_path, "-c", "-n", 5) as terminal:
        terminal.wait(rf"What is gravity\?  \({session}, 1 turn\)")
        terminal.wait(lambda text: " ".join(said.split()) in " ".join(text.split()))
        terminal.enter("/undo")
        terminal.wait("Took back message 1 and its answer")
        terminal.enter("/exit")
        assert terminal.end() == 0
    assert ossctl("sessions", "show", session, cwd=tmp_path).stdout.count("## You") == 0


def test_ctrl_c_keeps_what_was_said_and_twice_leaves(tmp_path: Path) -> None:
    with chat(tmp_path) as terminal:
        terminal.wait(LOADED)
        terminal.enter("Tell me a very long story about a dog.")
        terminal.wait(ANSWERING)
        pressed = time.monotonic()
        terminal.press("\x03")
        terminal.wait("Stopped. The partial answer is kept")
        assert time.monotonic() - pressed < 5
        terminal.settle()
        (content, state), *_ = rows_of(
            tmp_path, "SELECT content, state FROM messages WHERE role = 'assistant'"
        )
        assert state == "stopped"
        assert " ".join(str(content).split()[:8]) in " ".join(terminal.text.split())
        terminal.press("half a line\x03")
        terminal.settle()
        assert "half a line" not in terminal.text
        terminal.press("\x03")
        terminal.wait("Press Ctrl-C again, or Ctrl-D, to leave")
        terminal.press("\x03")
        assert terminal.end() == 0


def test_ctrl_c_while_a_long_message_is_read_brings_it_back_to_the_prompt(tmp_path: Path) -> None:
    with chat(tmp_path, "--ctx", 8192) as terminal:
        terminal.wait(LOADED)
        terminal.paste("\n".join(f"Line {n} of a long text." for n in range(700)))
        terminal.press("\r")
        terminal.wait(r"prefilling [\d,]+ of [\d,]+ tokens")
        pressed = time.monotonic()
        terminal.press("\x03")
        terminal.wait("Stopped before the answer began")
        assert time.monotonic() - pressed < 5  # half a second, on a machine that has nothing else to do
        terminal.settle()
        assert "Line 699 of a long text." in terminal.lines[-2]


def test_a_resumed_chat_is_read_at_once_and_that_can_be_stopped_and_left(tmp_path: Path) -> None:
    with chat(tmp_path, "-n", 3) as terminal:
        terminal.wait(LOADED)
        terminal.paste("\n".join(f"Line {n} of a long text." for n in range(50)))
        terminal.press("\r")
        terminal.wait(STATISTICS)
        terminal.settle()
        terminal.press("\x04")
        assert terminal.end() == 0
    with chat(tmp_path, "-c", "-n", 3, "--no-cache") as terminal:
        terminal.wait(LOADED)
        terminal.enter("Is that all?")
        terminal.wait(r"prefilling [\d,]+ of [\d,]+ tokens")
        terminal.press("\x03")
        terminal.wait(r"(?s)Stopped before the answer began.*> Is that all\?")
        terminal.enter(" Really?")
        read = terminal.wait(r"([\d,]+) prefilled · context")[1]  # all of it, for this message
        assert int(read.replace(",", "")) > 500
        assert rows_of(tmp_path, "SELECT content FROM messages WHERE role = 'user'")[-1] == (
            "Is that all? Really?",
        )
        terminal.settle()
        terminal.press("\x04")
        assert terminal.end() == 0
    with chat(tmp_path, "-c") as terminal:
        terminal.wait(rf"{LOADED}.* · prefilling \d+ %")
        terminal.press("\x04")
        terminal.wait("Saved: ")
        assert terminal.end() == 0


def test_what_is_pasted_is_read_before_it_is_sent_but_not_once_it_is_taken_back(tmp_path: Path) -> None:
    with chat(tmp_path, "-n", 3) as terminal:
        terminal.wait(LOADED)
        terminal.paste("\n".join(f"Line {n} of a long text." for n in range(700)))
        terminal.wait(rf"{LOADED}.* · prefilling \d+ %")
        terminal.press("\x03")
        terminal.wait(
            lambda _: LOADED in terminal.lines[-1] and "prefilling" not in terminal.lines[-1], seconds=10
        )
        terminal.paste("\n".join(f"Line {n} of another text." for n in range(60)))
        terminal.wait(rf"{LOADED}.* · prefilling \d+ %")
        terminal.wait(lambda _: LOADED in terminal.lines[-1] and "prefilling" not in terminal.lines[-1])
        sent = len(terminal.raw)
        terminal.enter(" What is that?")
        read = terminal.wait(r"([\d,]+) prefilled · context")[1]
        assert int(read.replace(",", "")) > 500
        for done, total in re.findall(rb"prefilling (\d+) of (\d+) tokens", terminal.raw[sent:]):
            assert int(total) - int(done) < 200  # fewer than 128 are not told of at the prompt


def test_a_paste_of_10_000_lines_is_one_message_and_keys_stay_quick(terminal: Terminal) -> None:
    terminal.wait(LOADED)
    terminal.paste("\n".join(f"line {n} of the paste" for n in range(10_000)))
    terminal.wait("line 9999 of the paste")
    terminal.settle()
    pressed = time.monotonic()
    terminal.press("x")
    terminal.wait("line 9999 of the pastex")
    assert time.monotonic() - pressed < 3
    terminal.press("\r")
    terminal.wait(r"The message has [\d,]+ tokens, more than the context of 2,048")
    terminal.settle()
    assert any("line 9999 of the pastex" in line for line in terminal.lines)  # to be shortened
    assert "more than the context of 2,048" in terminal.lines[-1]
    terminal.press("y")
    terminal.wait("line 9999 of the pastexy")
    terminal.settle()
    assert "more than the context" not in terminal.lines[-1]


def test_lines_are_added_by_a_backslash_and_by_alt_enter(terminal: Terminal, tmp_path: Path) -> None:
    terminal.wait(LOADED)
    terminal.press("one\\\rtwo")
    terminal.press("\x1b\r")
    terminal.enter("three")
    terminal.wait(STATISTICS)
    (content,), *_ = rows_of(tmp_path, "SELECT content FROM messages WHERE role = 'user'")
    assert content == "one\ntwo\nthree"


def test_an_edited_message_takes_back_what_came_after_it_only_when_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The meeting is on Monday.\n", "utf-8")
    with chat(tmp_path, "-n", 3) as terminal:
        terminal.wait(LOADED)
        for count, text in enumerate(("When is it, see @notes.txt ", "Are you sure?"), start=1):
            terminal.enter(text)
            terminal.wait(rf"(?s)(?:{STATISTICS}.*?){{{count}}}")
            terminal.settle()
        terminal.enter("/edit 1")
        terminal.wait("Sending it takes back the message after it; Ctrl-C cancels the edit")
        terminal.wait("(?m)^  The meeting is on Monday")
        terminal.press("\x03")
        terminal.enter("/context")
        terminal.wait(r"(?m)^ +2 .* Are you sure\?")
        terminal.enter("/edit 1")
        terminal.wait(r"(?s)Sending it.*Sending it.*> When is it")
        terminal.press("Please.")
        terminal.press("\r")
        terminal.wait(rf"(?s)(?:{STATISTICS}.*?){{3}}")
        terminal.settle()
        terminal.press("\x04")
        session = terminal.wait(r"--resume (\w+)")[1]
    shown = ossctl("sessions", "show", session, cwd=tmp_path).stdout
    assert shown.count("## You") == shown.count("The meeting is on Monday.") == 1
    assert "Please." in shown


def test_what_is_typed_while_an_answer_comes_is_at_the_next_prompt(terminal: Terminal) -> None:
    terminal.wait(LOADED)
    terminal.enter("Tell me a story.")
    terminal.wait("answering")
    terminal.press("and then?")
    terminal.wait(STATISTICS)
    terminal.settle()
    assert terminal.text.count("and then?") == 1
    assert any(line == "> and then?" for line in terminal.lines)


def test_the_history_is_shared_by_chats(tmp_path: Path) -> None:
    with chat(tmp_path, "-n", 1) as first:
        first.wait(LOADED)
        first.enter("/reasoning hide")
        first.wait("Reasoning: hide")
    with chat(tmp_path, "-n", 1) as second:
        second.wait(r"(?m)^> *$")
        second.press("\x1b[A")
        second.wait("> /reasoning hide")


def test_slash_commands_complete_and_a_wrong_one_names_the_nearest(terminal: Terminal) -> None:
    terminal.wait(LOADED)
    terminal.press("/rea")
    terminal.wait("Show reasoning, fold it to one line, or hide it")
    terminal.press("\t")
    terminal.wait("> /reasoning")
    terminal.press(" sh")
    terminal.wait(r"(?m)^ +show")  # the menu
    terminal.press("\t")
    terminal.wait("> /reasoning show")
    terminal.press("\r\r")
    terminal.wait("Reasoning: show")
    terminal.enter("/rety")
    terminal.wait("There is no command /rety.\nDid you mean /retry")
    terminal.wait("(?m)^> /rety$")  # it can be mended
    terminal.enter("\x15/effort high")
    terminal.wait("Effort is not for")
    terminal.enter("/image cat.png")
    terminal.wait("models get text only")


def test_files_are_attached_by_command_and_by_mention(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The meeting is on Monday.\n", "utf-8")
    (tmp_path / "picture.bin").write_bytes(b"\x89PNG\0\xff")
    (tmp_path / "latin.txt").write_bytes("Füße".encode("latin-1"))
    (tmp_path / "million.txt").write_text("a line\n" * 1_000_000, "utf-8")
    terminal.wait(LOADED)
    for name, says in (
        ("picture.bin", "Cannot read picture.bin: it is not UTF-8 text"),
        ("latin.txt", "Cannot read latin.txt: it is not UTF-8 text"),
        ("million.txt", r"Cannot attach million.txt: 7\.0 MB is too large"),
        ("nothing.txt", "There is no file nothing.txt"),
        (".", "it is a folder"),
    ):
        terminal.enter(f"/file {name}")
        terminal.wait(says)
    terminal.enter("/file notes.txt")
    terminal.wait(r"notes.txt: \d+ tokens of [\d,]+ free")
    terminal.press("When is it? See @no")
    terminal.wait(r"(?m)^ +notes.txt")  # the menu
    terminal.press("\t")
    terminal.wait("@notes.txt")
    terminal.press("\r")
    terminal.settle()
    terminal.press("\r")
    terminal.wait(STATISTICS)
    (content,), *_ = rows_of(tmp_path, "SELECT content FROM messages WHERE role = 'user'")
    assert str(content).count("The meeting is on Monday.") == 2
    assert str(content).startswith("When is it? See @notes.txt")


def test_what_mentioned_files_take_is_in_the_toolbar_before_the_message_is_sent(
    terminal: Terminal, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("The meeting is on Monday.\n", "utf-8")
    (tmp_path / "latin.txt").write_bytes("Füße".encode("latin-1"))
    (tmp_path / "million.txt").write_text("a line\n" * 1_000_000, "utf-8")
    (tmp_path / "many.txt").write_text("a line of text\n" * 1_000, "utf-8")
    os.mkfifo(tmp_path / "pipe.txt")
    terminal.wait(LOADED)
    terminal.enter("/file notes.txt")
    counted = terminal.wait(r"notes.txt: (\d+) tokens of")[1]
    terminal.press("See @notes.txt")
    terminal.wait(rf"@notes.txt: {counted} tokens\n")
    notes.write_text("The meeting is on Tuesday, or on Wednesday.\n", "utf-8")
    terminal.press(", @many.txt")
    terminal.wait(r"@many.txt: [\d,]+ tokens, [\d,]+ free")
    assert int(re.findall(r"@notes.txt: (\d+) tokens", terminal.text)[-1]) > int(counted)
    terminal.press(" @latin.txt @pipe.txt and @nothing.txt")
    terminal.wait("cannot read latin.txt: it is not UTF-8 text")
    terminal.settle()
    assert "pipe" not in terminal.lines[-1]
    terminal.press("\x03@million.txt ")
    terminal.wait(r"cannot attach million.txt: 7\.0 MB is too large")
    terminal.press("\x03")
    terminal.settle()
    assert terminal.lines[-1].endswith("with notes.txt")


def test_an_editor_is_opened_with_what_is_typed(tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\necho "Edited: $(cat "$1")" > "$1"\n', "utf-8")
    editor.chmod(0o755)
    with chat(tmp_path, "-n", 1, EDITOR=str(editor)) as terminal:
        terminal.wait(LOADED)
        terminal.press("draft\x18\x05")
        terminal.wait("> Edited: draft")


def test_a_full_context_is_the_users_to_make_room_in(tmp_path: Path) -> None:
    with chat(tmp_path, "--ctx", 512, "-n", 8) as terminal:
        terminal.wait(LOADED)
        for turn in range(1, 9):
            terminal.enter(f"Write about the number {turn}. " + "Please do. " * 40)
            found = terminal.wait(rf"(?s)(?:{STATISTICS}.*?){{{turn}}}|The context is nearly full")
            if "nearly full" in found[0]:
                break
        terminal.wait(r"The context is nearly full: \d+ of 512")
        terminal.press("d\r")
        terminal.wait("The model no longer sees the oldest .*turn")
        terminal.settle()
        terminal.enter("/context")
        terminal.wait("- out of context")
        terminal.enter("/exit")
        session = terminal.wait(r"--resume (\w+)")[1]
        terminal.end()
    exported = json.loads(ossctl("sessions", "export", session, "--format", "json", cwd=tmp_path).stdout)
    seen = [m["seen"] for m in exported["messages"] if m["role"] == "user"]
    assert (seen[0], seen[-1]) == (False, True)
    assert any(m["role"] == "cut" for m in exported["messages"])
    assert "(out of context)" in ossctl("sessions", "show", session, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("signum", "code", "answering"), [(signal.SIGHUP, 129, True), (signal.SIGTERM, 143, False)]
)
def test_a_terminal_that_goes_away_loses_nothing_that_was_said(
    tmp_path: Path, signum: int, code: int, answering: bool
) -> None:
    with chat(tmp_path) as terminal:
        terminal.wait(LOADED)
        terminal.enter("Tell me a very long story about a dog.")
        terminal.wait(ANSWERING)
        if not answering:
            terminal.press("\x03")
            terminal.wait("Stopped")
            terminal.settle()
        os.kill(terminal.process.pid, signum)
        assert terminal.end() == code
    (content, state), *_ = rows_of(tmp_path, "SELECT content, state FROM messages WHERE role = 'assistant'")
    assert state == "stopped"
    assert len(str(content)) > 40


def test_kill_minus_nine_loses_no_more_than_the_last_moment(tmp_path: Path) -> None:
    with chat(tmp_path) as terminal:
        terminal.wait(LOADED)
        terminal.enter("Tell me a very long story about a dog.")
        terminal.wait(ANSWERING)
        os.kill(terminal.process.pid, signal.SIGKILL)
        terminal.end()
    rows = rows_of(tmp_path, "SELECT role, content FROM messages ORDER BY id")
    assert rows[0] == ("user", "Tell me a very long story about a dog.")
    assert len(str(rows[1][1]).split()) > 10
    with chat(tmp_path, "-c") as terminal:
        terminal.wait(r"\(stopped\)")
        terminal.wait("> Tell me a very long story about a dog.")


def test_a_broken_database_and_a_model_without_functions_are_said_and_the_chat_goes_on(
    tmp_path: Path,
) -> None:
    data = tmp_path / "home" / "data"
    data.mkdir(parents=True)
    (data / "ossctl.db").write_bytes(b"this is no database, but long enough to look like one\n" * 100)
    with chat(tmp_path, "-n", 5, "--tool-cmd", "now=date") as terminal:
        terminal.wait(r"(?s)This chat is not saved:\s.*is\s+damaged")
        terminal.wait(LOADED)
        terminal.enter("Say hi.")
        terminal.wait(STATISTICS)
        terminal.settle()
        said = " ".join(terminal.text.split())
        assert "takes no functions, and answers without them: its chat template has none." in said
        assert "not saved" in terminal.lines[-1]


@pytest.mark.parametrize("plain", ["NO_COLOR=1", "TERM=dumb"])
def test_plain_text_where_that_is_asked_for(tmp_path: Path, plain: str) -> None:
    name, _, value = plain.partition("=")
    variables = {"TERM": "xterm-256color", name: value}
    with Terminal("chat", *MODEL, "-n", 8, cwd=tmp_path, variables=variables) as terminal:
        terminal.wait(">")
        terminal.enter("Say hi.")
        terminal.wait(r"\(\d+ tokens? · ")
        terminal.settle()
        assert not re.search(rb"\x1b\[[\d;]*3[1-6]m", terminal.raw)


@pytest.mark.parametrize("columns", [40, 200])
def test_narrow_and_wide_screens(tmp_path: Path, columns: int) -> None:
    with chat(tmp_path, "-n", 30, columns=columns) as terminal:
        terminal.wait(LOADED if columns > 40 else r"(?m)^> *$")
        terminal.enter("List three fruits. 日本語もどうぞ。")
        terminal.wait(r"\d+ tokens · ")
        terminal.settle()
        prose = max(len(line) for line in terminal.lines)
        assert prose <= columns
        assert re.search(r"context \d+ of 8,192", terminal.lines[-1])
        assert "> List three fruits. 日本語もどうぞ。" in terminal.text.replace(" \u3000", "")


def test_a_resize_in_the_middle_of_an_answer_leaves_a_whole_answer(tmp_path: Path) -> None:
    with chat(tmp_path, "-n", 200) as terminal:
        terminal.wait(LOADED)
        terminal.enter("Tell me a long story about a dog.")
        terminal.wait(ANSWERING)
        terminal.resize(60, 20)
        terminal.wait(lambda _: ">" in terminal.lines)  # the next prompt
        terminal.settle()
        (content,), *_ = rows_of(tmp_path, "SELECT content FROM messages WHERE role = 'assistant'")
        last = re.split(r"\n+", str(content).strip())[-1].split()[-5:]
        assert " ".join(last) in " ".join(terminal.text.split())


def test_a_model_that_was_deleted_meanwhile_is_said_with_a_way_on(tmp_path: Path) -> None:
    copy = tmp_path / "model.gguf"
    copy.write_bytes(smollm2().read_bytes())
    with Terminal("chat", "-m", copy, "--threads", 1, "-n", 3, cwd=tmp_path) as terminal:
        terminal.enter("Say hi.")
        terminal.wait(STATISTICS)
    copy.unlink()
    with Terminal("chat", "-c", cwd=tmp_path) as terminal:
        terminal.wait("the model of this chat: .*model.gguf")
        terminal.wait(r"ossctl chat --resume \w+ -m MODEL")
        assert terminal.end() == 4
    copy.write_bytes(smollm2().read_bytes())
    with Terminal("chat", "-c", cwd=tmp_path) as terminal:
        terminal.wait("ossctl .* with model")
        terminal.wait(LOADED)


def test_what_is_typed_while_the_model_fails_to_load_is_not_lost(tmp_path: Path) -> None:
    model = tmp_path / "broken.gguf"
    os.mkfifo(model)
    with Terminal("chat", "-m", model, cwd=tmp_path) as terminal:
        terminal.wait(r"(?m)^> *$")
        terminal.press("A long question")
        terminal.wait("A long question")
        model.write_bytes(b"no model")
        assert terminal.end() != 0
    assert "+A long question" in (tmp_path / "home" / "state" / "history").read_text("utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Terminal]:
    """A chat as a job of a shell."""
    with Terminal("chat", *MODEL, cwd=tmp_path, columns=100, rows=30, shell=True) as terminal:
        terminal.wait(LOADED)
        yield terminal


def continue_job(terminal: Terminal) -> None:
    terminal.wait(r"\[1\]\+ +Stopped")
    terminal.enter("echo back in the $((1 + 1))nd shell")
    terminal.wait("back in the 2nd shell")
    assert not terminal.screen.cursor.hidden
    terminal.enter("fg")


@pytest.mark.parametrize("signalled", [False, True])
def test_ctrl_z_at_the_prompt_suspends_and_the_text_is_still_there(shell: Terminal, signalled: bool) -> None:
    shell.press("some text")
    shell.wait("> some text")
    if signalled:
        os.kill(child_of(shell), signal.SIGTSTP)
    else:
        shell.press("\x1a")
    continue_job(shell)
    shell.wait(r"fg\n.*\n(.*\n)*> some text")
    shell.press(" and more")
    shell.wait("> some text and more")
    shell.press("\x03\x04")
    shell.wait(r">\s*\n\$\s*$")


def test_ctrl_z_during_an_answer_suspends_and_the_answer_comes_back_whole(
    shell: Terminal, tmp_path: Path
) -> None:
    shell.enter("Tell me a very long story about a dog.")
    shell.wait(ANSWERING)
    shell.press("\x1a")
    continue_job(shell)
    shell.wait(ANSWERING)
    shell.press("\x03")
    shell.wait("Stopped. The partial answer is kept")
    (content,), *_ = rows_of(tmp_path, "SELECT content FROM messages WHERE role = 'assistant'")
    shown = " ".join(shell.text.split())
    assert all(" ".join(line.split()[:6]) in shown for line in str(content).splitlines())
    shell.press("\x04")
    shell.wait(r"Saved: .*\n\$\s*$")


def child_of(terminal: Terminal) -> int:
    """The program that the shell of `terminal` runs."""
    return os.tcgetpgrp(terminal.process.child_fd)
