"""What is offered for a file that a message mentions."""

import os
from pathlib import Path

import pytest

from ossctl.app.chat.attachments import mentioned_files, missing_files, read_attachment
from ossctl.app.chat.export import save_new
from ossctl.app.chat.paths import user_path
from ossctl.app.user_text import text_of
from ossctl.errors import OssctlError, UsageError
from ossctl.repl import completion
from ossctl.repl.commands import all_commands
from ossctl.repl.completion import candidates


@pytest.mark.parametrize("typed", ["see @my", 'see @"my', 'see @"my no', "a line\n@my"])
def test_a_file_with_blanks_in_its_name_is_completed_to_a_mention_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("my notes.txt")
    file.write_text("text", "utf-8")
    (found,) = candidates(typed, all_commands(), lambda _: ())
    assert mentioned_files(f"{typed[: -found.length]}{found.text} please") == [file]


@pytest.mark.parametrize("typed", ["see @~no-such-user", "see @~no-such-user/", "/file ~no-such-user/x"])
def test_an_unknown_users_home_is_a_folder_that_does_not_exist(typed: str) -> None:
    assert not candidates(typed, all_commands(), lambda _: ())
    assert mentioned_files(typed) == []
    with pytest.raises(UsageError, match="there is no file ~no-such-user/x"):
        read_attachment(Path("~no-such-user/x"), 1000)


HOSTILE = [
    "~no-such-user",
    "~no-such-user/x",
    "~\0/x",
    "a\0b",
    "~\ud800",
    "\udce9/x",
    "x" * 5000,
    "x/" * 3000,
    "/root/\0",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_no_file_can_have_is_a_file_that_does_not_exist(path: str, tmp_path: Path) -> None:
    for typed in (f"see @{path}", f'see @"{path}', f'see @"{path}"', f"/file {path}", f"/save {path}/"):
        assert not candidates(typed, all_commands(), lambda _: ())
        assert mentioned_files(typed) == []
        assert isinstance(missing_files(typed), list)
    for read in (lambda: read_attachment(user_path(path), 1000), lambda: text_of(f"@{path}")):
        with pytest.raises(UsageError):
            read()
    with pytest.raises(OssctlError):
        save_new(user_path(f"{path}/x"), "text")


def test_names_that_cannot_be_typed_are_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (b"caf\xe9", b"es\x1b[2J", b"new\nline", "naïve.txt".encode()):
        (tmp_path / os.fsdecode(name)).write_text("text", "utf-8")
    assert [found.text for found in candidates("@", all_commands(), lambda _: ())] == ["naïve.txt"]


def test_after_the_name_of_a_file_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("text", "utf-8")
    for typed in ("@notes.txt ", "@notes.txt\n", '@"notes.txt"', "mail@no"):
        assert not candidates(typed, all_commands(), lambda _: ())


def test_folders_of_windows_are_separated_by_backslashes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def names(folder: Path) -> list[tuple[str, bool]]:
        asked.append(str(folder))
        return [("notes.md", False), ("now", True), ("other", True)]

    monkeypatch.setattr(completion, "_SEPARATORS", ("/", "\\"))
    monkeypatch.setattr(completion, "names_in", names)
    assert list(completion.paths("C:\\docs\\no")) == ["C:\\docs\\notes.md", "C:\\docs\\now/"]
    assert asked == ["C:\\docs\\"]
    assert next(iter(completion.paths("C:\\docs\\now/n"))) == "C:\\docs\\now/notes.md"
