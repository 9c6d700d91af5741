"""What the chat says in few words."""

import pytest

from ossctl.repl.wording import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0304, "30 ms"),
        (0.1, "0.1 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (200.2, "3 min 20 s"),
        (7_200, "120 min"),
    ],
)
def test_durations_have_the_digits_that_matter(seconds: float, said: str) -> None:
    assert duration(seconds) == said
