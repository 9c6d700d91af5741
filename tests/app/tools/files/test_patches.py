"""Patches in the format of OpenAI's apply_patch: what they do to texts, and errors for the model."""

import difflib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossctl.app.tools.files.patches import FileChange, parse_patch, patch_in

DOCUMENTED = """\
*** Begin Patch
*** Add File: hello.txt
+Hello world
*** Update File: src/app.py
*** Move to: src/main.py
@@ def greet():
-print("Hi")
+print("Hello, world!")
*** Delete File: obsolete.txt
*** End Patch"""


def update(hunks: str, path: str = "a.py") -> FileChange:
    return parse_patch(f"*** Begin Patch\n*** Update File: {path}\n{hunks}\n*** End Patch\n")[0]


def one_line(problem: str) -> str:
    return rf"\A.*{re.escape(problem)}.*\Z"


def test_the_documented_patch_adds_moves_and_deletes() -> None:
    added, moved, deleted = parse_patch(DOCUMENTED)
    assert (added.path, added.apply(None)) == ("hello.txt", "Hello world\n")
    assert (moved.path, moved.move_to) == ("src/app.py", "src/main.py")
    assert moved.apply('def greet():\nprint("Hi")\n') == 'def greet():\nprint("Hello, world!")\n'
    assert (deleted.path, deleted.apply("old")) == ("obsolete.txt", None)


def test_a_section_chooses_between_equal_lines() -> None:
    text = "def a():\n    return 1\n\ndef b():\n    return 1\n"
    assert update("@@ def b():\n-    return 1\n+    return 2").apply(text) == text[:-2] + "2\n"
    assert (
        update("@@ def b():\n+    # two\n     return 1").apply(text)
        == text[:-13] + "    # two\n    return 1\n"
    )


def test_sections_narrow_one_after_the_other() -> None:
    text = "class A:\n    def f():\n        x\nclass B:\n    def f():\n        x\n"
    patched = update("@@ class B:\n@@     def f():\n-        x\n+        y").apply(text)
    assert patched == text[:-2] + "y\n"


def test_line_numbers_in_place_of_a_section_do_no_harm() -> None:
    assert update("@@ -1,2 +1,2 @@\n a\n-b\n+c").apply("a\nb\n") == "a\nc\n"


def test_context_that_differs_in_white_space_is_found_and_stays_as_it_is_in_the_file() -> None:
    assert update("@@\n if x:\n-  y\n+    z").apply("\tif x:  \n    y\n") == "\tif x:  \n    z\n"


def test_an_exact_place_is_better_than_an_earlier_one_with_other_white_space() -> None:
    assert update("@@\n-a\n+b").apply(" a\na\n") == " a\nb\n"


def test_the_end_of_the_file_is_the_last_of_equal_places() -> None:
    assert update("@@\n-a\n+b\n*** End of File").apply("a\na\n") == "a\nb\n"
    assert update("@@\n+b\n*** End of File").apply("a\na\n") == "a\na\nb\n"


def test_a_text_without_a_final_newline_keeps_to_it() -> None:
    assert update("@@\n a\n+b").apply("a") == "a\nb"


def test_a_text_with_windows_newlines_keeps_them() -> None:
    assert update("@@\n a\n+b\n c").apply("a\r\nc") == "a\r\nb\r\nc"


def test_blank_lines_between_files_are_no_context() -> None:
    patch = "*** Begin Patch\n*** Update File: a\n@@\n-x\n+y\n\n*** Delete File: b\n\n*** End Patch"
    changed, deleted = parse_patch(patch)
    assert changed.apply("x\n") == "y\n"
    assert deleted.action == "delete"


def test_a_file_can_be_moved_unchanged() -> None:
    (moved,) = parse_patch("*** Begin Patch\n*** Update File: a\n*** Move to: b\n*** End Patch")
    assert (moved.move_to, moved.apply("text")) == ("b", "text")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_white_space_around_the_patch_and_its_newlines_are_free(newline: str) -> None:
    patch = "\n  " + DOCUMENTED.replace("\n", newline) + "\n\n"
    assert parse_patch(patch) == parse_patch(DOCUMENTED)


@pytest.mark.parametrize(
    ("patch", "problem"),
    [
        ("", "must start with '*** Begin Patch'"),
        ("*** Begin Patch\n*** Add File: a\n+x", "cut off"),
        ("*** Begin Patch\n*** End Patch", "is empty: it needs *** Add File"),
        ("*** Begin Patch\nfoo\n*** End Patch", "line 2 of the patch: expected *** Add File"),
        ("*** Begin Patch\n*** Add File: \n*** End Patch", "line 2 of the patch: the path is missing"),
        ("*** Begin Patch\n*** Add File: a\n+x\ny\n*** End Patch", "line 4 of the patch: each line of a new"),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", "the update of a has no lines"),
        ("*** Begin Patch\n*** Update File: a\n@@\n*** End Patch", "the hunk has no lines"),
        (
            "*** Begin Patch\n*** Update File: a\n@@\nfoo\n*** End Patch",
            "line 4 of the patch: a line must",
        ),
        ("*** Begin Patch\n*** Delete File: a\n*** Delete File: a\n*** End Patch", "changes a twice"),
    ],
)
def test_a_malformed_patch_is_refused_in_one_line(patch: str, problem: str) -> None:
    with pytest.raises(ValueError, match=one_line(problem)):
        parse_patch(patch)


@pytest.mark.parametrize(
    ("change", "old", "problem"),
    [
        (FileChange("add", "a", text="x"), "y", "a already exists"),
        (FileChange("delete", "a"), None, "a does not exist"),
        (update("@@\n-x\n+y"), None, "a.py does not exist"),
        (update("@@\n a\n-x\n+y"), "a\nb\n", "a.py: the file has no line 'x'"),
        (update("@@\n a\n-b\n+y"), "b\na\n", "a.py: the lines from 'a' do not follow each other"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_in_one_line(
    change: FileChange, old: str | None, problem: str
) -> None:
    with pytest.raises(ValueError, match=one_line(problem)):
        change.apply(old)


def test_a_patch_may_come_as_text_or_in_an_object() -> None:
    assert patch_in(DOCUMENTED) == patch_in({"input": DOCUMENTED}) == DOCUMENTED
    for arguments in ({}, 1, {"a": "x", "b": "y"}, {"a": 1}):
        with pytest.raises(ValueError, match="the patch is missing"):
            patch_in(arguments)


LINES = st.lists(st.sampled_from(["a", "  a", "b", "", "x = 1", "@@ b", "*** End Patch", "+a", "-a", " "]))


def hunks(old: list[str], new: list[str], context: int) -> str:
    """The hunks of a unified diff, without its line numbers."""
    diff = [*difflib.unified_diff(old, new, n=context, lineterm="")][2:]
    return "\n".join("@@" if line.startswith("@@ -") else line for line in diff)


@given(LINES, LINES)
def test_a_patch_with_all_lines_as_context_makes_the_one_text_from_the_other(
    old: list[str], new: list[str]
) -> None:
    if old != new:
        text, wanted = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
        assert update(hunks(old, new, 10_000)).apply(text) == wanted


@given(st.integers(1, 40), st.sets(st.integers(0, 39)), st.data())
def test_hunks_far_apart_are_found_by_their_lines(
    n_lines: int, changed: set[int], data: st.DataObject
) -> None:
    old = [f"line {number}" for number in range(n_lines)]
    edits = {at: data.draw(st.lists(st.sampled_from(["new", ""]), max_size=2)) for at in changed}
    new = [line for at, line in enumerate(old) for line in edits.get(at, [line])]
    if old != new:
        text, wanted = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
        assert update(hunks(old, new, 2)).apply(text) == wanted


@given(st.text(alphabet="*+- @\nab", max_size=80), st.text(alphabet="ab \n", max_size=20))
def test_any_text_is_a_patch_or_an_error_in_one_line(body: str, old: str) -> None:
    problem = ""
    try:
        for change in parse_patch(f"*** Begin Patch\n*** Update File: a\n{body}\n*** End Patch"):
            change.apply(old)
    except ValueError as error:
        problem = str(error)
    assert "\n" not in problem
