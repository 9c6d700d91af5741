"""`ossctl chat` off a terminal, and `ossctl sessions`."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chat_templates import FAMILIES
from tests.support.command import Result, command, environment, ossctl
from tests.support.models import smollm2

MODEL = ("-m", smollm2(), "--threads", 1, "--ctx", 2048, "-t", 0)
NAME = "Smollm2 135M 8k Lc100K Mix1 Ep2"  # as its file says


def chat(folder: Path, text: str, *arguments: object) -> Result:
    return ossctl("chat", *MODEL, *arguments, cwd=folder, stdin=text.encode())


def database(folder: Path) -> Path:
    return folder / "home" / "data" / "ossctl.db"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where there was a chat of two turns."""
    folder = tmp_path_factory.mktemp("spoken")
    assert chat(folder, "Say hi.\nName a \\\ncolour.\n", "-n", 12, "-s", "Be brief.").code == 0
    return folder


def only_session(folder: Path) -> str:
    listed = json.loads(ossctl("sessions", "list", "--json", cwd=folder).stdout)
    (session,) = listed["sessions"]
    return str(session["id"])


def test_each_line_is_a_turn_and_stdout_has_the_answers_alone(tmp_path: Path) -> None:
    result = chat(
        tmp_path, "What is gravity?\n\nWhat did I say?\n/stats\n/exit\nNever said.\n", "--commands", "-n", 12
    )
    assert result.code == 0
    first = ossctl("run", *MODEL, "-n", 12, "What is gravity?", cwd=tmp_path).stdout
    assert result.stdout.startswith(first)
    assert len(result.stdout) > len(first)
    assert "2 answers" in result.stderr
    assert "2 answers" not in result.stdout


def test_a_line_that_fails_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    result = chat(tmp_path, "/hlep\n/resume xyz\nSay hi.\n", "--commands", "-n", 5)
    assert result.code == 2
    assert "There is no command /hlep." in result.stderr
    assert "There is no session xyz." in result.stderr
    assert result.stdout.strip()


def test_commands_do_not_wait_for_a_server_that_does_not_start(tmp_path: Path) -> None:
    server = ("-m", "nano", "--mcp", "silent=sleep 987", "--yes")
    result = chat(tmp_path, "/mcp\n/tools\n/exit\nNever said.\n", "--commands", *server)
    assert result.code == 0
    assert "started (sleep 987)" in result.stderr or "starting (sleep 987)" in result.stderr
    assert "Some functions are still starting." in result.stderr
    assert "did not answer" not in result.stderr


def test_an_effort_from_the_environment_holds_for_models_that_have_one(tmp_path: Path) -> None:
    asked = ("chat", *MODEL, "-n", 2)
    result = ossctl(*asked, cwd=tmp_path, stdin=b"Say hi.", OSSCTL_EFFORT="low")
    assert result.code == 0
    assert result.stdout.strip()
    refused = ossctl(*asked, "-e", "low", cwd=tmp_path, stdin=b"Say hi.")
    assert refused.code == 2
    assert "--effort is not for" in refused.stderr


def test_tools_that_need_approval_are_refused_as_run_refuses_them(tmp_path: Path) -> None:
    result = chat(tmp_path, "Say hi.\n", "--tool-cmd", "x=python")
    assert (result.code, result.stdout) == (2, "")
    assert "there is no terminal to ask on" in result.said[0]


def test_lines_are_messages_and_nothing_else_unless_commands_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret", "utf-8")
    script = "Read @secret.txt please.\n/save stolen.md\n/etc/passwd is a file.\n"
    result = chat(tmp_path, script, "-n", 2)
    assert result.code == 0
    assert "'/save stolen.md' is sent as a message; --commands runs slash commands." in result.stderr
    assert not (tmp_path / "stolen.md").exists()
    shown = ossctl("sessions", "show", only_session(tmp_path), cwd=tmp_path).stdout
    assert "the secret" not in shown
    assert "/save stolen.md" in shown
    allowed = chat(tmp_path, script, "-n", 2, "--commands")
    assert allowed.code == 0
    assert "the secret" in (tmp_path / "stolen.md").read_text("utf-8")


def test_a_line_that_is_no_text_fails_by_its_number_and_the_others_are_answered(tmp_path: Path) -> None:
    lines = b"Say hi.\nName \\\na \xff colour.\n\x00\nSay hi again.\n"
    done = ossctl("chat", *MODEL, "-n", 2, cwd=tmp_path, stdin=lines)
    assert done.code == 2
    assert "Cannot read line 2 of standard input: it is not UTF-8 text, byte 0xff" in done.stderr
    assert "Cannot read line 4 of standard input: it is binary" in done.stderr
    shown = json.loads(ossctl("sessions", "show", only_session(tmp_path), "--json", cwd=tmp_path).stdout)
    asked = [message["content"] for message in shown["messages"] if message["role"] == "user"]
    assert asked == ["Say hi.", "Say hi again."]


def test_a_reader_who_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("chat", *MODEL),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"Tell me a story.\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_full_context_leaves_the_oldest_turns_out_and_says_so(tmp_path: Path) -> None:
    long = "word " * 700
    result = chat(tmp_path, f"{long}\n{long}\n{long}\n", "-n", 2)
    assert result.code == 0
    assert result.stderr.count("The model no longer sees the oldest turn;") == 1


def test_list_show_search_and_export(spoken: Path) -> None:
    session = only_session(spoken)
    listed = ossctl("sessions", "list", cwd=spoken)
    assert session in listed.stdout
    assert "Say hi." in listed.stdout
    shown = ossctl("sessions", "show", session[:3], cwd=spoken).stdout
    assert shown.startswith("# Say hi.")
    assert "## Instructions\n\nBe brief." in shown
    assert "## You\n\nName a \ncolour." in shown
    assert ossctl("sessions", "export", session, "-o", "-", cwd=spoken).stdout == shown
    found = ossctl("sessions", "search", "colour", "name", cwd=spoken).stdout
    assert found.startswith(f"{session}  user")
    assert "[colour]" in found
    hits = json.loads(ossctl("sessions", "search", "colour", "--json", cwd=spoken).stdout)["hits"]
    assert [hit["session"] for hit in hits if hit["role"] == "user"] == [session]
    assert ossctl("sessions", "search", "zeppelin", cwd=spoken).said == ["No message contains these words."]
    assert ossctl("sessions", "export", session, "-o", "chat.json", cwd=spoken).code == 0
    exported = json.loads((spoken / "chat.json").read_text("utf-8"))
    assert exported == json.loads(ossctl("sessions", "show", session, "--json", cwd=spoken).stdout)
    assert exported["schema"] == "ossctl.session/1"
    assert [message["role"] for message in exported["messages"]] == ["user", "assistant"] * 2
    assert exported["settings"]["system"] == "Be brief."
    again = ossctl("sessions", "export", session, "-o", "chat.json", cwd=spoken)
    assert (again.code, again.said[0]) == (2, "ossctl: chat.json exists")


def test_a_chat_goes_on_with_its_own_model_and_settings(spoken: Path) -> None:
    session = only_session(spoken)
    result = ossctl(
        "chat",
        "--resume",
        session,
        "--threads",
        1,
        "--commands",
        cwd=spoken,
        stdin=b"/system\n/set max_tokens\n",
    )
    assert result.code == 0
    assert "System prompt: Be brief." in result.stderr
    assert "max_tokens 12 " in result.stderr
    unknown = ossctl("chat", "--resume", "0", cwd=spoken)
    assert (unknown.code, unknown.said[0]) == (2, "ossctl: there is no session 0")


def test_deleting_has_to_be_confirmed(tmp_path: Path) -> None:
    chat(tmp_path, "Say hi.\n", "-n", 2)
    session = only_session(tmp_path)
    assert ossctl("sessions", "delete", session, cwd=tmp_path).code == 2
    twice = ossctl("sessions", "delete", session, session[:5], "-y", cwd=tmp_path)
    assert twice.said == ["1 chat deleted."]
    assert ossctl("sessions", "show", session, cwd=tmp_path).code == 2
    assert ossctl("sessions", "list", cwd=tmp_path).said == ["There are no saved chats."]


def test_a_broken_or_newer_database_is_a_clear_error_or_a_chat_that_is_not_saved(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(parents=True)
    database(tmp_path).write_bytes(b"no database at all" * 1000)
    listed = ossctl("sessions", "list", cwd=tmp_path)
    assert listed.code == 2
    assert "is damaged" in listed.said[0]
    result = chat(tmp_path, "Say hi.\n", "-n", 2)
    assert result.code == 0
    assert result.stdout.strip()
    assert "This chat is not saved" in result.stderr
    assert ossctl("chat", "-c", cwd=tmp_path).code == 2
    database(tmp_path).unlink()
    with sqlite3.connect(database(tmp_path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    assert "written by a newer ossctl" in ossctl("sessions", "list", cwd=tmp_path).said[0]


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be", "utf-8")
    result = chat(tmp_path, "Say hi.\n", "-n", 2)
    assert result.code == 0
    assert result.stdout.strip()
    assert "This chat is not saved: cannot write" in result.stderr


def test_a_summary_is_no_answer(tmp_path: Path) -> None:
    result = chat(tmp_path, "Say hi.\n/compact\n", "--commands", "-n", 6, "--ctx", 512)
    (session,) = json.loads(ossctl("sessions", "list", "--json", cwd=tmp_path).stdout)["sessions"]
    shown = json.loads(ossctl("sessions", "show", session["id"], "--json", cwd=tmp_path).stdout)
    said = {message["role"]: message["content"] for message in shown["messages"]}
    assert result.stdout.split() == said["assistant"].split()
    assert said["cut"].split()[0] in result.stderr.split()


def test_a_files_name_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xd8")
    result = chat(tmp_path, "/file picture\n", "--commands", "-n", 2)
    assert "Cannot read picture: it is not UTF-8 text" in result.stderr


def test_commands_change_copy_and_write_the_chat(tmp_path: Path) -> None:
    script = f"""/set temperature 0.5
/set top_p 7
/set max_tokens 4
/system Be brief.
Say hi.
/save chat.md
/save chat.md
/fork
/retry
/undo
/model nope
/model {smollm2()}
Say hi again.
/compact
/context
/plan
/copy
/help
"""
    result = chat(tmp_path, script, "--commands")
    for said in (
        "temperature 0.5",
        "top_p is 7.0, must be from 0 to 1",
        "System prompt: Be brief.",
        "The answer was cut off after 4 tokens. /set max_tokens N raises the limit, then /retry.",
        "Written: chat.md",
        "chat.md exists.",
        "stays as it is.",
        "Took back message 1 and its answer.",
        "No model is called nope.",
        "continues the conversation.",
        "From now on the model sees this summary.",
        "out of context: the model no longer sees this turn",
        "parallel sequences  4",
        "There is no clipboard to copy to.",
        "/resume ID",
    ):
        assert said in result.stderr
    assert (tmp_path / "chat.md").read_text("utf-8").startswith("# Say hi.")
    listed = json.loads(ossctl("sessions", "list", "--json", cwd=tmp_path).stdout)["sessions"]
    assert listed[0]["forked_from"] == listed[1]["id"]


def test_a_chat_that_was_only_looked_at_keeps_its_model(tmp_path: Path) -> None:
    chat(tmp_path, "Say hi.\n", "-n", 3)
    session = only_session(tmp_path)

    def resumed(script: str) -> str:
        options = ("-m", "nano", "-n", 3, "--commands")
        ossctl("chat", *options, cwd=tmp_path, stdin=f"/resume {session}\n{script}".encode())
        exported = ossctl("sessions", "export", session, "--format", "json", cwd=tmp_path)
        return str(json.loads(exported.stdout)["model"])

    assert resumed("") == NAME
    assert resumed("Say hello.\n").startswith("nano")


def test_set_takes_the_values_that_the_options_take(tmp_path: Path) -> None:
    refused = ("seed 18446744073709551616", "seed -2", "top_k -2", "max_reasoning_tokens 5", "date 20260131")
    taken = ("seed 18446744073709551615", "seed -1", "top_k -1", "date 2026-1-31", "think AUTO")
    script = "".join(f"/set {each}\n" for each in (*refused, *taken))
    lines = chat(tmp_path, f"Say hi.\n{script}/set seed 7\nAgain.\n/stats\n", "--commands", "-n", 2).stderr
    shown = [line.partition("  (")[0] for line in lines.splitlines() if "cut off" not in line]
    assert shown[:5] == [
        "seed is 18446744073709551616, must be from 0 to 18446744073709551615.",
        "seed is -2, must be from 0 to 18446744073709551615.",
        "top_k is -2, must be 0 or more.",
        "max_reasoning_tokens: the model's chat template has no reasoning; leave it out.",
        "date cannot be 20260131.",
    ]
    assert shown[5] == "seed 18446744073709551615"
    assert 0 <= int(shown[6].removeprefix("seed ")) < 2**32
    assert shown[7:11] == ["top_k 0", "date 2026-01-31", "think auto", "seed 7"]
    assert "seed 7" in lines.splitlines()[-1]
    for option, value in (("--seed", 2**64), ("--max-reasoning-tokens", 5)):
        assert chat(tmp_path, "Say hi.\n", option, value).code == 2


def test_python_is_for_models_that_take_functions(tmp_path: Path) -> None:
    script = f"/python on\nSay hi.\n/model nano\n/python on\n/model {smollm2()}\n/python\nSay hi again.\n"
    result = chat(tmp_path, script, "--commands", "-n", 2)
    assert result.code == 2  # of the first line alone
    for line in (
        f"{NAME} takes no functions: its chat template has none.",
        "/template FILE gives it another one.",
        "The model may run Python: Monty, at most 60 s.",
        "This model takes no functions; Python is off.",
        f"{NAME} continues the conversation.",
        "The model has no Python.",
    ):
        assert line in result.stderr.splitlines()
    shown = json.loads(ossctl("sessions", "show", only_session(tmp_path), "--json", cwd=tmp_path).stdout)
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"] * 2


def test_a_model_that_takes_no_functions_is_refused_with_options_for_some(tmp_path: Path) -> None:
    for arguments in (("--python",), ("--files", "."), ("--tool-cmd", f"f={sys.executable}", "-y")):
        result = chat(tmp_path, "Say hi.\n", *arguments)
        assert (result.code, result.stdout) == (2, "")
        assert result.said == [
            f"ossctl: {NAME} takes no functions: its chat template has none",
            "Leave out the options that offer some, or give another template with --template FILE.",
        ]


def test_a_model_that_takes_no_functions_answers_without_those_of_a_config_file_or_of_another_model(
    tmp_path: Path,
) -> None:
    without = f"{NAME} takes no functions, and answers without them: its chat template has none."
    folder = tmp_path / "home" / "config"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[chat]\nfiles = "."\n', "utf-8")
    configured = chat(tmp_path, "Say hi.\nSay hi again.\n", "-n", 2)
    assert configured.code == 0, configured.stderr
    assert configured.stderr.count(without) == 1
    (folder / "config.toml").unlink()
    script = f"/model {smollm2()}\nSay hi.\nSay hi again.\n/model nano\nSay hi.\n"
    switched = ossctl(
        "chat", "-m", "nano", "-n", 2, "--files", ".", "--commands", cwd=tmp_path, stdin=script.encode()
    )
    assert switched.code == 0, switched.stderr
    assert switched.stderr.count(without) == 1


def test_a_model_reads_the_words_of_another_and_not_its_tokens(tmp_path: Path) -> None:
    script = f"Hello!\n/model {smollm2()}\nSay hi.\n/model nano\nWhat is the capital of France?\n"
    result = ossctl(
        "chat", "-m", "nano", "-t", 0, "-n", 60, "--commands", cwd=tmp_path, stdin=script.encode()
    )
    assert result.code == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("The capital of France is Paris.")


def test_thinking_variables_and_template_are_changed_and_saved_with_the_chat(tmp_path: Path) -> None:
    (tmp_path / "qwen.jinja").write_text(FAMILIES["Qwen3"], "utf-8")
    unread = "the chat template qwen.jinja does not read it; did you mean enable_thinking?"
    script = """/set think
/set think maybe
/set think off
/set template_var enable_thinkin=1
/set template_var enable_thinking=true
Say hi.
/set template_var off
/set think on
/template off
/set think off
/template nope.jinja
/template
/template qwen.jinja
/set think off
Say hi again.
"""
    result = chat(tmp_path, script, "--commands", "-n", 2, "--template", "qwen.jinja")
    lines = [line for line in result.stderr.splitlines() if "cut off" not in line]
    assert [line.partition("  (")[0] for line in lines] == [
        "think auto",
        "think cannot be maybe.",
        "think off",
        f"Template variable enable_thinkin: {unread}",
        "template_var enable_thinking=true",
        "template_var off",
        "think on",
        "This model has no think setting; it is removed.",
        "The chat template is the model's own.",
        "think: the model's chat template cannot switch reasoning off.",
        "Cannot read nope.jinja: No such file or directory.",
        "The chat template is the model's own.",
        "Chat template: qwen.jinja",
        "think off",
    ]
    again = ossctl(
        "chat", "-c", "--commands", cwd=tmp_path, stdin=b"/template\n/set think\n/save chat.json\n"
    )
    assert f"Chat template: {tmp_path / 'qwen.jinja'}" in again.stderr
    assert "think off" in again.stderr
    saved = json.loads((tmp_path / "chat.json").read_text("utf-8"))
    assert saved["settings"]["think"] == "off"
    first, second = (m["details"]["settings"] for m in saved["messages"] if m["role"] == "assistant")
    assert (first["think"], first["template_variables"]) == ("off", {"enable_thinking": True})
    assert "template_variables" not in second
    (tmp_path / "qwen.jinja").unlink()
    gone = ossctl("chat", "-c", cwd=tmp_path)
    assert (gone.code, len(gone.said)) == (2, 2)
    assert "cannot read" in gone.said[0]
    assert "--template" in gone.said[1]
