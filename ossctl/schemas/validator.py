"""Validators of JSON schemas: drafts 4 to 2020-12, and schemas that mix their forms."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import regex

from ossctl.schemas.patterns import checked_pattern
from ossctl.schemas.references import escaped

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

_CACHED_VALIDATORS = 64
_MAX_REASON = 200  # characters
_PATTERN_SECONDS = 2.0
_TYPES = ("string", "number", "integer", "boolean", "null", "object", "array")
_INFINITY = float("inf")

_Check = Callable[["Validator", Any, Any, Any], Iterator["ValidationError"] | None]


class NotASchema(ValueError):
    """What is wrong with a schema, with the pointer of the part."""


@functools.lru_cache(maxsize=_CACHED_VALIDATORS)
def validator_of(schema: bytes) -> "Validator":
    """The validator of a schema in JSON. It fetches nothing. Raises NotASchema.

    Its draft is what `$schema` says, else 2020-12, where older forms mean what they meant in their drafts.
    `format` is an annotation. Numbers are compared exactly.
    """
    from jsonschema.validators import extend
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    decoded = msgspec.json.decode(schema)
    kind, is_named = _draft_of(decoded)
    changed: dict[str, Any] = {"multipleOf": _multiple_of, "pattern": _pattern}
    changed["patternProperties"] = _pattern_properties
    changed["additionalProperties"] = _additional_properties
    if not is_named:
        for limit in ("Minimum", "Maximum"):
            changed[f"exclusive{limit}"] = _exclusive(kind.VALIDATORS, limit)
        changed["dependencies"] = _dependencies
        known = {**kind.VALIDATORS, **changed}
        changed = {key: _unless_null(check) for key, check in known.items()}
    validator: Validator = extend(kind, changed)(decoded, registry=REGISTRY)  # type: ignore[no-untyped-call]
    return validator


def complaint(value: Any, schema: Mapping[str, Any]) -> str:
    """How `value` breaks `schema`, and where in both; "" if it fits."""
    from jsonschema.exceptions import best_match

    try:
        error = best_match(validator_of(msgspec.json.encode(schema)).iter_errors(value))
    except re.error:  # a pattern of names, with unevaluatedProperties
        return ""
    if error is None:
        return ""
    where = f"at {error.json_path}: " if error.absolute_path else ""
    rule = "".join(f"/{escaped(str(step))}" for step in error.absolute_schema_path)
    return f"{where}{error.message[:_MAX_REASON]} (schema: {rule})"


def check_schema(schema: Any) -> None:
    """Raise NotASchema if `schema` is no JSON schema."""
    validator_of(msgspec.json.encode(schema))


def _draft_of(schema: Any) -> tuple[Any, bool]:
    """The class of validators for a schema, and whether the schema names its draft."""
    from jsonschema import validators

    newest = validators.Draft202012Validator
    if _names_draft(schema):
        named = validators.validator_for(schema, default=newest)
        _check(named, schema)
        return named, True
    if _error_of(newest, schema) is None:
        return newest, False
    older = (validators.Draft201909Validator, validators.Draft7Validator, validators.Draft4Validator)
    if _has_wrong_reference(newest, schema) or all(_error_of(kind, schema) is not None for kind in older):
        _check(newest, schema)
    return validators.Draft201909Validator, False


def _names_draft(schema: Any) -> bool:
    from jsonschema_specifications import REGISTRY

    name = schema.get("$schema") if isinstance(schema, dict) else None
    return isinstance(name, str) and name.rstrip("#") in {uri.rstrip("#") for uri in REGISTRY}


def _check(kind: Any, schema: Any) -> None:
    error = _error_of(kind, schema)
    if error is not None:
        pointer = "".join(f"/{escaped(str(step))}" for step in error.absolute_path)
        message = error.message[:_MAX_REASON]
        if pointer.endswith("/type"):
            message = (
                f"{str(error.instance)[:40]!r} is not a type, must be {', '.join(_TYPES)} or a list of these"
            )
        raise NotASchema(f"{f'at {pointer}: ' if pointer else ''}{message}")


def _has_wrong_reference(kind: Any, schema: Any) -> bool:
    """Whether `$id`, `$ref` or the like is not a text: older drafts ignore those that they do not know."""
    errors = kind(kind.META_SCHEMA).iter_errors(schema)
    return any(
        each.validator == "type" and each.path and str(each.path[-1]).startswith("$") for each in errors
    )


def _error_of(kind: Any, schema: Any) -> Any:
    from jsonschema.exceptions import best_match

    return best_match(kind(kind.META_SCHEMA).iter_errors(schema))


def _multiple_of(_: "Validator", factor: Any, number: Any, __: Any) -> "Iterator[ValidationError]":
    from jsonschema import ValidationError

    if isinstance(number, bool) or not isinstance(number, int | float) or number in (_INFINITY, -_INFINITY):
        return
    if (Fraction(repr(number)) / Fraction(repr(factor))).denominator != 1:
        yield ValidationError(f"{number!r} is not a multiple of {factor!r}")


def _pattern(_: "Validator", pattern: Any, text: Any, __: Any) -> "Iterator[ValidationError]":
    from jsonschema import ValidationError

    if isinstance(text, str) and not _matches(pattern, text):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, _: Any) -> "Iterator[ValidationError]":
    if not isinstance(value, dict):
        return
    for pattern, schema in patterns.items():
        for name, member in value.items():
            if _matches(pattern, name):
                yield from validator.descend(member, schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, rule: Any, value: Any, schema: Any) -> "Iterator[ValidationError]":
    from jsonschema import ValidationError

    if not isinstance(value, dict):
        return
    patterns = schema.get("patternProperties", {})
    for name, member in value.items():
        if name in schema.get("properties", {}) or any(_matches(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError(f"the property {name[:80]!r} is not allowed")
        else:
            yield from validator.descend(member, rule, path=name)


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text, or cannot be checked: not valid, or too slow."""
    try:
        return regex.search(checked_pattern(pattern), text, timeout=_PATTERN_SECONDS) is not None
    except (regex.error, TimeoutError):
        return True


def _exclusive(checks: Any, limit: str) -> _Check:
    """The check of an exclusive bound, which is `true` beside the bound in draft 4."""

    def check(validator: "Validator", bound: Any, number: Any, schema: Any) -> Any:
        if isinstance(bound, bool):
            bound = schema.get(limit.lower()) if bound else None
        if bound is not None:
            yield from checks[f"exclusive{limit}"](validator, bound, number, schema)

    return check


def _dependencies(validator: Any, dependencies: Any, value: Any, _: Any) -> "Iterator[ValidationError]":
    for name, wanted in dependencies.items():
        if isinstance(value, dict) and name in value:
            rule = {"required": wanted} if isinstance(wanted, list) else wanted
            yield from validator.descend(value, rule, schema_path=name)


def _unless_null(check: Any) -> _Check:
    """A check that OpenAPI's `nullable` turns off for null."""

    def checked(validator: "Validator", value: Any, instance: Any, schema: Any) -> Any:
        if instance is not None or schema.get("nullable") is not True:
            yield from check(validator, value, instance, schema) or ()

    return checked
