"""The functions for files, as the model calls them."""

import json
import sys
from pathlib import Path

import pytest

from ossctl.app.tools.files.files import Files, FilesSource
from ossctl.app.tools.source import MAX_RESULT_BYTES
from ossctl.dialect import ToolCall

PATCH = """*** Begin Patch
*** Update File: a.txt
@@
 one
-two
+zwei
*** Add File: new/b.txt
+hello
*** Delete File: old.txt
*** End Patch"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    (root / "old.txt").write_text("old")
    (root / "sub" / "c.py").write_text("def two():\n    return 2\n")
    (root / "data.bin").write_bytes(b"two\0\1")
    return root


@pytest.fixture
def files(root: Path) -> Files:
    return FilesSource(root, writable=True).open()


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(name, json.dumps(arguments))


def result(files: Files, name: str, **arguments: object) -> str:
    return files.run(call(name, **arguments), lambda: True).result


def error(files: Files, name: str, **arguments: object) -> str:
    outcome = files.run(call(name, **arguments), lambda: True)
    assert not outcome.ok
    text: str = json.loads(outcome.result)["error"] if outcome.result.startswith("{") else outcome.result
    return text


def test_only_a_writable_folder_has_functions_that_write(root: Path) -> None:
    names = [
        [tool.name for tool in FilesSource(root, writable=writable).tools()] for writable in (False, True)
    ]
    assert names == [
        ["read_file", "list_files", "grep"],
        ["read_file", "list_files", "grep", "write_file", "apply_patch"],
    ]


def test_read_numbers_the_lines(files: Files) -> None:
    assert result(files, "read_file", path="a.txt") == "1\tone\n2\ttwo\n3\tthree"
    assert result(files, "read_file", path="a.txt", start="2", end=2) == "2\ttwo"
    assert "has no lines 9 to 3: the last one is 3" in error(files, "read_file", path="a.txt", start=9)


def test_a_long_file_is_read_in_parts(files: Files, root: Path) -> None:
    (root / "long.txt").write_text("".join(f"{'ä' * 40} {number}\n" for number in range(5000)))
    first = result(files, "read_file", path="long.txt").split("\n")
    assert len("\n".join(first).encode()) < MAX_RESULT_BYTES
    assert first[-1] == f"[lines 1 to {len(first) - 1} of 5000; continue with start={len(first)}]"
    assert result(files, "read_file", path="long.txt", start=len(first)).startswith(f"{len(first)}\tä")
    (root / "long.txt").write_text("x" * 1_000_000)
    assert result(files, "read_file", path="long.txt").endswith("x… [1,000,000 characters]")


def test_what_cannot_be_read_is_said(files: Files, root: Path) -> None:
    (root / "latin.txt").write_bytes("\xe4".encode("latin-1"))
    assert error(files, "read_file", path="data.bin") == "data.bin is a binary file of 5 bytes"
    assert error(files, "read_file", path="latin.txt") == "latin.txt is not text in UTF-8"
    assert error(files, "read_file", path="../secret.txt") == "../secret.txt is outside the folder"
    assert error(files, "read_file") == "Object missing required field `path`"
    assert error(files, "read_file", path="a.txt", start="first") == "Expected `int`, got `str`: `start`"
    assert "not valid JSON" in files.run(ToolCall("read_file", "{"), lambda: True).result


def test_list_shows_folders_and_sizes(files: Files) -> None:
    assert result(files, "list_files") == "a.txt\t14\ndata.bin\t5\nold.txt\t3\nsub/"
    assert result(files, "list_files", path="sub") == "sub/c.py\t24"
    assert error(files, "list_files", path="a.txt") == "a.txt is not a folder"


def test_grep_shows_where_a_pattern_matches(files: Files) -> None:
    assert result(files, "grep", pattern=r"tw[o]") == "a.txt:2: two\nsub/c.py:1: def two():"
    assert result(files, "grep", pattern="TWO", ignore_case=True, glob="*.py") == "sub/c.py:1: def two():"
    assert result(files, "grep", pattern="two", path="a.txt") == "a.txt:2: two"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "("}, "the pattern is not valid"),
        ({"pattern": "x", "path": "../secret.txt"}, "outside the folder"),
    ],
)
def test_a_wrong_search_is_told(files: Files, arguments: dict[str, object], message: str) -> None:
    assert message in error(files, "grep", **arguments)


def test_a_search_that_takes_too_long_is_killed(
    files: Files, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ossctl.app.tools.files.files._SEARCH_SECONDS", 0.4)
    (root / "a.txt").write_text("a" * 40 + "b")
    assert "more than 0.4 s" in error(files, "grep", pattern=r"(a|aa)+$")


def test_a_diff_has_the_lines_that_the_file_has_and_names_are_on_one_line(files: Files, root: Path) -> None:
    (root / "page.txt").write_text("a\x0cb\u2028c\rd\n", newline="")
    name = "b\nLet write_file change c?\u202e.txt"
    assert files.question(call("write_file", path="page.txt", text="a\x0cb\n")) == (
        "--- page.txt\n+++ page.txt\n@@ -1 +1 @@\n-a\\fb\\u2028c\\rd\n+a\\fb\nLet write_file change page.txt?"
    )
    assert files.question(call("write_file", path=name, text="x\n")) == (
        "--- /dev/null\n+++ b\\nLet write_file change c?\\u202e.txt\n@@ -0,0 +1 @@\n+x\n"
        "Let write_file change b\\nLet write_file change c?\\u202e.txt?"
    )


def test_a_change_is_asked_about_with_its_diff(files: Files, root: Path) -> None:
    write = call("write_file", path="a.txt", text="one\nzwei\x1b[2J\n")
    assert files.question(write) == (
        "--- a.txt\n+++ a.txt\n@@ -1,3 +1,2 @@\n one\n-two\n-three\n+zwei\\u001b[2J\n"
        "Let write_file change a.txt?"
    )
    assert files.run(write, lambda: True).result == "updated a.txt"
    assert (root / "a.txt").read_text() == "one\nzwei\x1b[2J\n"
    assert files.question(call("read_file", path="a.txt")) is None


def test_a_patch_changes_several_files(files: Files, root: Path) -> None:
    patch = call("apply_patch", patch=PATCH)
    question = files.question(patch)
    assert question is not None
    assert question.endswith(
        "--- /dev/null\n+++ new/b.txt\n@@ -0,0 +1 @@\n+hello\n"
        "--- old.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
        "\\ No newline at end of file\nLet apply_patch change a.txt, new/b.txt, old.txt?"
    )
    assert files.run(patch, lambda: True).result == "updated a.txt\nadded new/b.txt\ndeleted old.txt"
    assert (root / "a.txt").read_text() == "one\nzwei\nthree\n"
    assert (root / "new" / "b.txt").read_text() == "hello\n"
    assert not (root / "old.txt").exists()


def test_a_patch_that_does_not_fit_changes_nothing(files: Files, root: Path) -> None:
    (root / "old.txt").unlink()
    patch = call("apply_patch", patch=PATCH)
    assert files.question(patch) is None
    assert "old.txt does not exist" in files.run(patch, lambda: True).result
    assert (root / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_a_file_moves_with_its_change(files: Files, root: Path) -> None:
    patch = "*** Begin Patch\n*** Update File: a.txt\n*** Move to: sub/d.txt\n@@\n-two\n+zwei\n*** End Patch"
    assert result(files, "apply_patch", patch=patch) == "added sub/d.txt\ndeleted a.txt"
    assert (root / "sub" / "d.txt").read_text() == "one\nzwei\nthree\n"
    again = "*** Begin Patch\n*** Update File: old.txt\n*** Move to: sub/d.txt\n@@\n-old\n+new\n*** End Patch"
    assert error(files, "apply_patch", patch=again) == "sub/d.txt already exists"


def test_a_file_that_changes_after_the_question_is_left_alone(files: Files, root: Path) -> None:
    write = call("write_file", path="a.txt", text="new")
    assert files.question(write)
    (root / "a.txt").write_text("somebody else's")
    assert "have changed since the user was asked" in files.run(write, lambda: True).result
    assert (root / "a.txt").read_text() == "somebody else's"


def test_line_ends_and_a_byte_order_mark_are_kept(files: Files, root: Path) -> None:
    (root / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert result(files, "read_file", path="a.txt") == "1\tone\n2\ttwo"
    patch = "*** Begin Patch\n*** Update File: a.txt\n@@\n-two\n+zwei\n+drei\n*** End Patch"
    assert result(files, "apply_patch", patch=patch) == "updated a.txt"
    assert (root / "a.txt").read_bytes() == b"\xef\xbb\xbfone\r\nzwei\r\ndrei\r\n"
    result(files, "write_file", path="a.txt", text="x\ny\n")
    assert (root / "a.txt").read_bytes() == b"\xef\xbb\xbfx\r\ny\r\n"


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_nothing_outside_is_written(files: Files, root: Path) -> None:
    (root / "link").symlink_to(root.parent)
    for path in ("../x.txt", "link/x.txt", str(root.parent / "x.txt")):
        assert "outside the folder" in error(files, "write_file", path=path, text="x")
        patch = f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch"
        assert "outside the folder" in error(files, "apply_patch", patch=patch)
        patch = f"*** Begin Patch\n*** Update File: a.txt\n*** Move to: {path}\n@@\n-two\n+x\n*** End Patch"
        assert "outside the folder" in error(files, "apply_patch", patch=patch)
    assert not (root.parent / "x.txt").exists()
