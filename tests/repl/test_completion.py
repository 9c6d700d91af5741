"""What is offered for a file that a message mentions."""

from pathlib import Path

import pytest

from ossctl.app.chat.attachments import mentioned_files, read_attachment
from ossctl.errors import UsageError
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


def test_after_the_name_of_a_file_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("text", "utf-8")
    for typed in ("@notes.txt ", "@notes.txt\n", '@"notes.txt"', "mail@no"):
        assert not candidates(typed, all_commands(), lambda _: ())
