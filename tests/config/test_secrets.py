"""Secrets are hidden."""

from typing import Any

import pytest

from ossctl.config.secrets import without_secrets

SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mcp.x.env", {"A": SECRET}),
        ("mcp.x.headers", {"Authorization": f"Bearer {SECRET}"}),
        ("mcp.x.url", f"https://me:{SECRET}@host/mcp"),
        ("mcp.x.url", f"https://host/mcp?api={SECRET}"),
        ("mcp.x.args", ["--api-key", SECRET]),
        ("mcp.x.args", [f"--token={SECRET}", "on"]),
        ("mcp.x.command", f"API_KEY={SECRET} run"),
        ("run.hf-token", SECRET),
        ("password", SECRET),
    ],
)
def test_what_may_be_secret_is_not_shown(key: str, value: Any) -> None:
    assert SECRET not in str(without_secrets(tuple(key.split(".")), value, is_option=False))


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": SECRET},
        f"x=curl -H 'Authorization: Bearer {SECRET}'",
        [f"x=prog --token {SECRET}"],
        f"https://u:{SECRET}@host",
        "hf_abcdefghij" + SECRET,
        "Use sk-abcdefgh" + SECRET,
    ],
)
def test_secrets_in_options_are_not_shown(value: Any) -> None:
    assert SECRET not in str(without_secrets(("run", "tool-cmd"), value, is_option=True))


@pytest.mark.parametrize(
    "value", [2048, "Count the tokens and keys.", "https://host/path", ["a", "--max-tokens"], {"x": 1}, True]
)
def test_the_rest_is_shown(value: Any) -> None:
    assert without_secrets(("run", "max-tokens"), value, is_option=True) == value
