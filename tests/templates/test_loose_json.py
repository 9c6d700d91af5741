"""Values as models write them."""

from typing import Any

import pytest

from ossctl.templates.loose_json import NotAValue, read_arguments, read_loose, read_object


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, -2.5, true, null]}', {"a": [1, -2.5, True, None]}),
        ("{'a': (1, True, None), 'b': 'it\\'s'}", {"a": [1, True, None], "b": "it's"}),
        ("{a:1,b_c:[],d:{}}", {"a": 1, "b_c": [], "d": {}}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('{"a": 1, "b": False,}', {"a": 1, "b": False}),
    ],
)
def test_json_and_pythons_spelling_are_read(text: str, value: Any) -> None:
    assert read_object(text + " rest", 0) == (value, len(text))


def test_strings_may_have_quotes_of_their_own() -> None:
    text = "{k:<q>a\"b'{<q>,n:1,l:[<q>x<q>]}"
    assert read_loose(text, 0, "<q>") == ({"k": "a\"b'{", "n": 1, "l": ["x"]}, len(text))


def test_keyword_arguments_are_read() -> None:
    text = "(a='b', c=1, d={'e': false}, f=\"g\\n\")"
    assert read_arguments(text, 0) == ({"a": "b", "c": 1, "d": {"e": False}, "f": "g\n"}, len(text))


def test_a_quote_that_should_have_been_escaped_does_not_end_a_string() -> None:
    text = "(a='it's 'b' there', c='d')"
    assert read_arguments(text, 0) == ({"a": "it's 'b' there", "c": "d"}, len(text))


@pytest.mark.parametrize("text", ["", "{", "{a", "{a:", "{'a': b}", "[1", "'a", "(a)", "[" * 99999])
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(NotAValue):
        read_object(text, 0)
