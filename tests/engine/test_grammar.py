"""JSON schemas as masks over a vocabulary."""

import itertools
import json
from random import Random
from typing import Any

import jsonschema
import pytest

from ossctl.engine.grammar import JsonGrammar, JsonGrammars
from ossctl.errors import RequestError
from ossctl.guide import GuideFailed
from tests.support.toy_harmony import TOY, ToyVocabulary

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GRAMMARS = JsonGrammars(TOY)


def grammar(schema: Any) -> JsonGrammar:
    return GRAMMARS.json(schema, "schema")


def walk(made: JsonGrammar, text: str) -> JsonGrammar:
    """Accept a text token by token, checking that each is allowed."""
    for token in TOY.tokenize(text):
        assert not made.banned()[token], f"{TOY.piece(token)!r} of {text}"
        made.accept(token)
    return made


def allowed(made: JsonGrammar) -> set[int]:
    return set((~made.banned()).nonzero()[0].tolist())


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"not": {}}, "schema is false"),
        ({"type": "text"}, "'text' is not a type, must be string"),
        ({"type": "object", "properties": [1]}, "at /properties: .*object"),
        ({"anyOf": [{"not": {"$ref": "http://example.com/schema"}}]}, "example.com"),
        ({"$ref": "#/$defs/nowhere"}, "nowhere"),
        ({"$ref": "http://example.com/schema"}, "example.com"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength"),
        ({"enum": []}, "empty"),
        ({"enum": 5}, "enum"),
        ({"properties": 5}, "properties"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "a"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "Unsatisfiable"),
        ({"type": "string", "pattern": "(a"}, "regex parse error: .*unclosed group"),
        ({"type": "object", "patternProperties": {"(?!a)(": {}}}, "regex parse error"),
    ],
)
def test_an_unenforceable_schema_is_refused_naming_its_field(schema: dict[str, Any], says: str) -> None:
    for _ in range(2):  # also when cached
        with pytest.raises(RequestError, match=rf"^tools\[3\]: .*{says}"):
            GRAMMARS.json(schema, "tools[3]")


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    with pytest.raises(RequestError, match=r"^tools"):
        GRAMMARS.json(schema, "tools[3]")


def test_a_schema_is_compiled_once() -> None:
    grammars = JsonGrammars(TOY)
    for _ in range(5):
        grammars.json(json.loads(json.dumps(PERSON)), "schema")
    assert grammars._matcher.cache_info().misses == 1


def test_grammars_of_one_schema_are_independent() -> None:
    first, second = grammar(PERSON), grammar(PERSON)
    walk(first, '{"name":"Al","age":3}')
    assert not second.complete
    assert allowed(second) == {ord("{")}
    walk(second, '{"name":"Bo","age":')
    assert allowed(grammar(PERSON)) == {ord("{")}


def test_more_schemas_than_are_cached_stay_right() -> None:
    made = [grammar({"const": f"text {number}"}) for number in range(100)]
    for number in (0, 50, 99):
        assert walk(made[number], f'"text {number}"').finished
        assert walk(grammar({"const": f"text {number}"}), f'"text {number}"').finished


def test_the_vocabulary_is_read_once_for_the_first_schema() -> None:
    class Counted(ToyVocabulary):
        reads = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "pieces":
                self.reads += 1
            return super().__getattribute__(name)

    vocabulary = Counted()
    vocabulary.reads = 0
    grammars = JsonGrammars(vocabulary)
    assert vocabulary.reads == 0
    grammars.json(PERSON, "schema")
    assert vocabulary.reads == 1
    grammars.json({"type": "integer"}, "schema")
    assert vocabulary.reads == 1


def test_no_whitespace_is_allowed_between_the_parts() -> None:
    made = grammar(
        {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "integer"}}}
    )
    for token in TOY.tokenize('[{"a":1,"b":2},{},{"":3}]'):
        inside_string = allowed(made) >= set(b"abc")
        if not inside_string:
            assert not allowed(made) & set(b" \t\r\n")
        made.accept(token)
    assert made.complete


def test_a_text_may_end_where_it_is_complete_and_must_where_nothing_can_follow() -> None:
    number = grammar({"type": "integer"})
    assert (number.complete, number.finished) == (False, False)
    walk(number, "12")
    assert (number.complete, number.finished) == (True, False)

    person = walk(grammar(PERSON), '{"name":"Al","age":3')
    assert (person.complete, person.finished) == (False, False)
    walk(person, "}")
    assert (person.complete, person.finished) == (True, True)


def test_tokens_without_an_alternative_are_forced() -> None:
    made = grammar(PERSON)
    forced = list(made.forced())
    assert forced == list(b'{"name":"')
    for token in forced:
        made.accept(token)
    assert list(made.forced()) == []
    walk(made, "Alice")
    assert list(made.forced()) == list(b'","age":')


def test_forced_tokens_equal_those_found_one_by_one() -> None:
    made, stepped = (grammar({"enum": ["abc-1", "abc-2"]}) for _ in range(2))
    forced = list(made.forced())
    for token in forced:
        assert list(stepped.forced())[:1] == [token]
        assert allowed(stepped) == {token}
        stepped.accept(token)
    assert forced == list(b'"abc-')


@pytest.mark.parametrize("schema", [{}, {"type": "string"}, PERSON, {"type": "array"}])
def test_control_tokens_and_invalid_utf8_are_never_allowed(schema: dict[str, Any]) -> None:
    rng, made = Random(1), grammar(schema)
    for _ in range(200):
        choice = allowed(made)
        if made.complete:
            choice -= TOY.end_ids
            if not choice:
                break
        assert choice
        assert not choice & TOY.special_ids
        assert not choice & {0xC0, 0xC1, *range(0xF5, 0x100)}
        made.accept(rng.choice(sorted(choice)))


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ("", "["),
        ('{"name"', " "),
        ('{"name":', "1"),
        ("{", '"a'),
        ('{"name":"Alice', "x"),
        ('{"name":"', "<|end|>"),
    ],
)
def test_a_token_that_does_not_fit_fails_the_guide(before: str, wrong: str) -> None:
    made = walk(grammar(PERSON), before)
    *fits, last = TOY.ids(wrong)
    for token in fits:
        made.accept(token)
    with pytest.raises(GuideFailed, match="schema"):
        made.accept(last)


def test_the_caller_may_change_a_mask() -> None:
    made = grammar(PERSON)
    made.banned()[:] = True
    assert allowed(made) == {ord("{")}
    assert made.banned().shape == (TOY.size,)


def test_tokens_of_several_bytes_are_masked_by_their_bytes() -> None:
    vocabulary = ToyVocabulary(('{"', 'name":', ' "', "true", "tr", "12", "1 "))
    made = JsonGrammars(vocabulary).json({"type": ["boolean", "integer"]}, "schema")
    names = {vocabulary.piece(token) for token in allowed(made)}
    assert names == {b"true", b"tr", b"t", b"f", b"12", b"-", *(b"%d" % n for n in range(10))}


OPEN = {"additionalProperties": True}
A, B = ({"properties": {name: {"type": "integer"}}} for name in "ab")
BASED = {
    "$ref": "#/$defs/base",
    **B,
    "$defs": {"base": {**A, "required": ["a"]}, "other": {"$ref": "#/$defs/base"}},
}


def fits(schema: Any, text: str) -> bool:
    made = grammar(schema)
    for token in TOY.tokenize(text):
        if made.banned()[token]:
            return False
        made.accept(token)
    return made.complete


@pytest.mark.parametrize(
    ("schema", "fitting", "others"),
    [
        (A, ['{"a":1}', "{}"], ['{"a":1,"b":2}', '{"b":1}', r'{"\u0061":1}']),
        (A | OPEN, ['{"a":1}', '{"a":1,"b":"x"}'], []),
        ({"type": "object"}, ["{}", '{"b":1}'], []),
        ({"properties": {"in": A}}, ['{"in":{"a":1}}'], ['{"in":{"b":1}}', '{"c":1}']),
        ({"properties": {"in": {"items": A, "type": "array"}}}, ['{"in":[{"a":1}]}'], ['{"in":[{"b":1}]}']),
        ({"anyOf": [A, B | {"required": ["b"]}]}, ['{"a":1}', '{"b":1}'], ['{"a":1,"b":1}']),
        ({"allOf": [A, B]}, ['{"a":1}', '{"a":1,"b":1}'], ['{"a":1,"c":1}', '{"b":"x"}']),
        ({"allOf": [A | OPEN, B]}, ['{"a":1,"c":1}'], []),
        (BASED, ['{"a":1,"b":1}'], ['{"a":1,"b":1,"c":1}']),
        (
            {"properties": {"x": {"$ref": "#/$defs/base"}}, "$defs": BASED["$defs"]},
            ['{"x":{"a":1}}'],
            ['{"x":{"a":1,"c":1}}'],
        ),
        (A | {"required": ["a", "z"]}, ['{"a":1,"z":true}'], ['{"a":1,"z":1,"y":1}']),
        (A | {"patternProperties": {"^x": {}}}, ['{"a":1,"xy":1}'], ['{"a":1,"b":1}']),
        (A | {"required": ["a"], "minProperties": 2}, ['{"a":1,"b":1}'], ['{"a":1}']),
        ({"properties": {"next": {"$ref": "#"}}}, ['{"next":{"next":{}}}'], ['{"next":{"a":1}}']),
        ({"properties": {}}, ["{}"], ['{"a":1}']),
        ({"properties": {"properties": {"type": "string"}}}, ['{"properties":"x"}'], ['{"a":1}']),
    ],
)
def test_an_object_has_the_properties_that_are_named_unless_others_are_allowed(
    schema: dict[str, Any], fitting: list[str], others: list[str]
) -> None:
    schema = schema if "allOf" in schema or "anyOf" in schema else {"type": "object", **schema}
    assert [text for text in fitting if not fits(schema, text)] == []
    assert [text for text in others if fits(schema, text)] == []


BOUNDS = (None, -1.5, -1, -0.5, -0.0, 0, 0.05, 0.5, 1, 1.5, 2)
NUMBERS = (
    "0",
    "-0",
    "0.0",
    "-0.0",
    "0.05",
    "-0.05",
    "0.5",
    "-0.5",
    "1",
    "1.0",
    "-1",
    "1.5",
    "-1.5",
    "0.7",
    "2",
)


@pytest.mark.parametrize("low", BOUNDS)
def test_a_number_lies_within_its_bounds(low: float | None) -> None:
    for high, excluded in itertools.product(BOUNDS, (False, True)):
        names = ("exclusiveMinimum", "exclusiveMaximum") if excluded else ("minimum", "maximum")
        limits = {name: limit for name, limit in zip(names, (low, high), strict=True) if limit is not None}
        try:
            grammar({"type": "number", **limits})
        except RequestError:
            continue  # no number is within
        for text in NUMBERS:
            if fits({"type": "number", **limits}, text):
                jsonschema.validate(json.loads(text), limits)


NOTHING = {"type": "integer", "minimum": 0.5, "maximum": 0.7}


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"$defs": {"a/b": NOTHING}, "$ref": "#/$defs/a~1b"}, "/$defs/a~1b"),
        ({"allOf": [{"type": "integer"}, NOTHING]}, "/allOf/1"),
        ({"prefixItems": [{}, NOTHING], "allOf": [NOTHING]}, "/allOf/0"),
    ],
)
def test_an_error_points_into_the_schema(schema: dict[str, Any], where: str) -> None:
    with pytest.raises(RequestError) as caught:
        grammar(schema)
    assert caught.value.message.startswith(f"schema: at {where}: Unsatisfiable schema: ")


def test_an_error_of_the_whole_schema_has_no_pointer() -> None:
    with pytest.raises(RequestError, match=r"^schema: Unsatisfiable schema: "):
        grammar(NOTHING)
