"""What is trained when. Needs torch: `make nano-test`."""

import numpy as np
import pytest

pytest.importorskip("torch")

from tools.nano.train import curriculum


def test_copies_give_way_to_drills_and_both_to_conversations() -> None:
    kinds = curriculum(2_000).reshape(10, -1)
    shares = np.array([[(part == kind).mean() for kind in range(3)] for part in kinds])
    copies, drills, conversations = shares.T
    assert copies[0] > 0.3
    assert drills[0] > conversations[0]
    assert np.argmax(drills) < 2
    assert np.all(np.diff(conversations[:4]) > 0)
    assert np.all(conversations[4:] > 0.75)
    assert np.all(copies[4:] > 0.02)


def test_the_same_rows_come_again() -> None:
    assert np.array_equal(curriculum(100), curriculum(100))
