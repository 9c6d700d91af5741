"""The progress of a transfer as text."""

import pytest

from ossctl.app.library.pull import Transfer
from ossctl.cli.output import Output
from ossctl.cli.transfer import LiveTransfer, PlainTransfer, describe, gigabytes


@pytest.mark.parametrize(
    ("transfer", "speed", "text"),
    [
        (
            Transfer(3_100_000_000, 12_100_000_000),
            45.2e6,
            "3.1 of 12.1 GB · 45.2 MB/s · 3 min 19 s left",
        ),
        (Transfer(500_000, 98_400_000), 1e6, "0.5 of 98.4 MB · 1.0 MB/s · 1 min 38 s left"),
        (Transfer(0, 12_100_000_000), 0.0, "0.0 of 12.1 GB"),
        (Transfer(12_100_000_000, 12_100_000_000), 1e6, "12.1 of 12.1 GB"),
        (
            Transfer(0, 2_000_000_000, "the connection was lost"),
            0.0,
            "0.0 of 2.0 GB · the connection was lost",
        ),
    ],
)
def test_bytes_speed_and_time_left_are_shown(transfer: Transfer, speed: float, text: str) -> None:
    assert describe(transfer, speed) == text


def test_sizes_are_in_decimal_units() -> None:
    assert (gigabytes(12_109_566_560), gigabytes(98_400_000)) == ("12.1 GB", "98.4 MB")


def test_off_a_terminal_a_status_is_printed_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PlainTransfer(Output()) as progress:
        progress.watch(Transfer(0, 2_000_000))
        for seconds in (3, 2, 1):
            progress.watch(Transfer(0, 2_000_000, f"the server returned 503; retrying in {seconds} s"))
        progress.watch(Transfer(1_000_000, 2_000_000))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "0.0 of 2.0 MB · the server returned 503; retrying in 3 s\n"


def test_a_file_name_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveTransfer(Output()) as progress:
        progress.watch(Transfer(0, 2_000_000, "m[/x].gguf; [red]"))
        progress.note("checking m[/x].gguf")
    assert "checking m[/x].gguf" in capsys.readouterr().err
