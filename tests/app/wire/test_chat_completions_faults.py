"""The error messages of invalid lines."""

import json

import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import custom_id_of
from ossctl.app.wire.lines import Line
from ossctl.errors import RequestError


def fault(**fields: object) -> str:
    with pytest.raises(RequestError) as caught:
        LineParser(Defaults()).parse(Line(1, json.dumps({"prompt": "x", **fields}).encode()))
    return caught.value.message


@pytest.mark.parametrize("name", ["a b", "", "x - at y", "`q`"])
def test_a_field_of_any_name_is_named(name: str) -> None:
    assert fault(**{name: 1}) == f"{name} is not supported"


def test_errors_name_the_field_that_was_given() -> None:
    assert fault(max_completion_tokens=0).startswith("max_completion_tokens is 0")
    assert fault(stream=True) == "stream is true, only false is supported"


@pytest.mark.parametrize("token", ["1_0", " 5 ", "\u0663", "+5", "05", ""])
def test_logit_bias_takes_plain_token_ids(token: str) -> None:
    assert "token ids" in fault(logit_bias={token: 1})


@pytest.mark.parametrize("bias", [1e39, -101, 100.5])
def test_logit_bias_keeps_to_its_range(bias: float) -> None:
    assert "logit_bias of 5" in fault(logit_bias={"5": bias})


def test_the_id_of_a_bad_line_is_the_one_it_would_have_had() -> None:
    assert custom_id_of(Line(1, b'{"prompt": "x", "custom_id": null, "id": "a", "functions": []}')) == "a"
    assert custom_id_of(Line(3, b'{"prompt": "x", "custom_id": true}')) == "line-3"
