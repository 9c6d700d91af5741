"""Addresses of clusters that are none. None of these tests needs Ray, and each lasts a moment."""

import importlib.util
import re
import socket

import pytest

from ossctl.app.sites.cluster import connection
from ossctl.app.sites.cluster.connection import check_address, in_one_line
from ossctl.errors import UsageError


@pytest.fixture
def _ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Ray were installed."""
    spec = importlib.util.find_spec("json")
    monkeypatch.setattr(connection, "find_spec", lambda _: spec)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="--cluster needs Ray") as raised:
        check_address("auto")
    assert raised.value.hint == 'Run: pip install "ossctl[cluster]"'


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "--cluster: nothing is not HOST:PORT"),
        ("head", "--cluster: head is not HOST:PORT"),
        ("head:port", "--cluster: head:port is not HOST:PORT"),
        (":6379", "--cluster: :6379 is not HOST:PORT"),
        ("ray://head:10001", "--cluster: ray://head:10001 is a Ray Client address"),
        ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999: "),
    ],
)
def test_what_is_no_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        check_address(address)


@pytest.mark.usefixtures("_ray")
def test_a_port_where_nothing_listens_is_said_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"no Ray cluster answers at {address}: Connection refused"):
            check_address(address)


def test_errors_of_ray_become_one_line() -> None:
    text = "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    assert in_one_line(RuntimeError(text)) == (
        "Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.11.7"
    )
    assert len(in_one_line(RuntimeError("x" * 1000))) < 310
