"""The options that a finished run, batch or chat had, as keys of a config file."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ossctl.app.batch.report import SCHEMA as REPORT_SCHEMA
from ossctl.app.run.run import SCHEMA as RUN_SCHEMA
from ossctl.app.sessions.session_log import load_session, open_sessions
from ossctl.app.user_text import EMPTY_PATH
from ossctl.errors import UsageError
from ossctl.storage.compression import READ_ERRORS, describe_read_error, open_decoded

_MAX_RECORDS = 1_000  # of a batch that are compared
_MAX_BYTES = 64 * 1024 * 1024  # of a document

# The names of settings in records, and of the options that set them.
_OPTIONS = {
    "system": "system",
    "reasoning_effort": "effort",
    "effort": "effort",
    "max_tokens": "max-tokens",
    "max_reasoning_tokens": "max-reasoning-tokens",
    "think": "think",
    "template_variables": "template-var",
    "temperature": "temperature",
    "top_p": "top-p",
    "top_k": "top-k",
    "min_p": "min-p",
    "frequency_penalty": "frequency-penalty",
    "presence_penalty": "presence-penalty",
    "repetition_penalty": "repetition-penalty",
    "seed": "seed",
    "stop": "stop",
    "stops": "stop",
    "schema": "schema",
    "regex": "regex",
    "choice": "choice",
}


def options_of(source: str, database: Path) -> dict[str, Any]:
    """The options of a chat, by its id, or of the file that a run or batch has written. Raises UsageError."""
    if not source:
        raise UsageError(EMPTY_PATH)
    path = Path(source)
    if path.exists() or path.name != source or path.suffix:
        return _of_file(path)
    sessions = open_sessions(database)
    saved = load_session(sessions, sessions.find(source))
    model = {"model": saved.model.reference} if saved.model.reference else {}
    return {**model, **_options(saved.settings.record())}


def _of_file(path: Path) -> dict[str, Any]:
    records = [*islice(_records(path), _MAX_RECORDS)]
    first = records[0]
    if first.get("schema") == RUN_SCHEMA:
        return _options({**_table(first.get("settings")), "seed": first.get("seed")})
    if first.get("schema") == REPORT_SCHEMA:
        return _options(_table(first.get("settings")))
    settings = [found for found in map(_settings, records) if found]
    if not settings:
        raise UsageError(
            f"{path} has no settings",
            "Give the output or report of a batch, what `ossctl run --json` printed, or the ID of a chat.",
        )
    common = {
        name: value
        for name, value in settings[0].items()
        if name != "seed" and all(each.get(name) == value for each in settings)
    }
    return _options(common)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file: its lines, or the one document in it. Raises UsageError."""
    try:
        with open_decoded(path) as file:
            first = file.readline()
            try:
                yield _record(first, path)
            except UsageError:
                yield _record(first + file.read(_MAX_BYTES), path)
            with suppress(EOFError):  # a compressed output of a batch that was killed has no end
                for line in file:
                    with suppress(UsageError):  # the last one may be incomplete
                        yield _record(line, path)
    except READ_ERRORS as error:
        raise UsageError(f"cannot read {path}: {describe_read_error(error)}") from None


def _record(text: bytes, path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UsageError(f"{path} is not the JSON of a run or a batch") from None


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a batch's record, OpenAI's or flat."""
    body = _table(_table(record.get("response")).get("body"))
    return _table(body.get("settings") or record.get("settings"))


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as keys of a config file. The date is left out: it is that of the day."""
    given = {name: value for name, value in settings.items() if name in _OPTIONS and value is not None}
    found = {_OPTIONS[name]: value for name, value in given.items()}
    for name, value in found.items():
        if isinstance(value, tuple):
            found[name] = list(value)
    if isinstance(found.get("schema"), dict):
        found["schema"] = msgspec.json.encode(found["schema"]).decode()
    return found
