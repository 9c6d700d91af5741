"""Parses lines of the input, which are requests or records to make prompts from."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Task, custom_id_of, default_id, parse_task, read_record
from ossctl.app.wire.completions import parse_completion_task
from ossctl.app.wire.embeddings import EmbeddingTask, parse_embedding_task, refuse_embeddings
from ossctl.app.wire.endpoints import Endpoint, OneEndpoint
from ossctl.app.wire.lines import Line
from ossctl.app.wire.responses import parse_response_task

_Task = TypeVar("_Task", Task, EmbeddingTask)

_PARSERS = {Endpoint.COMPLETIONS: parse_completion_task, Endpoint.RESPONSES: parse_response_task}


class Template(Protocol):
    """Makes a prompt from a record."""

    def render(self, record: dict[str, Any]) -> str:
        """Raises RequestError."""


class Column:
    """Uses one field of the record as the prompt."""

    def __init__(self, name: str) -> None:
        self._name = name

    def render(self, record: dict[str, Any]) -> str:
        return str(record[self._name])


@dataclass(frozen=True)
class LineParser:
    """Parses the lines of one file as requests, or as records if there is a `template` for their prompts.

    With `assign_ids`, the ids are line numbers. `model` is the name of the model that will answer.
    """

    defaults: Defaults
    template: Template | None = None
    assign_ids: bool = False
    model: str = ""
    _endpoint: OneEndpoint = field(default_factory=OneEndpoint, repr=False, compare=False)

    def id_of(self, line: Line) -> str:
        """The id of a line's record in the output, whether or not the line is valid."""
        return default_id(line) if self.assign_ids else custom_id_of(line)

    def parse(self, line: Line) -> Task:
        """Parse a line. Raises RequestError, which names the field."""
        record = self.record_of(line)
        refuse_embeddings(record, self.model)
        parse = _PARSERS.get(self._endpoint.of(record, line.number), parse_task)
        task: Task = parse(record, line, self.defaults)
        return self.with_id(task, line)

    def record_of(self, line: Line) -> dict[str, Any]:
        """The request on a line, or that of the prompt made from its record. Raises RequestError."""
        record = read_record(line)
        if self.template is None:
            return record
        id_field = "id" if record.get("custom_id") is None else "custom_id"
        given_id = None if self.assign_ids else record.get(id_field)
        return {id_field: given_id, "prompt": self.template.render(record)}

    def with_id(self, task: _Task, line: Line) -> _Task:
        """`task` with the id that its record will have."""
        return replace(task, custom_id=default_id(line)) if self.assign_ids else task


@dataclass(frozen=True)
class EmbeddingLineParser:
    """Parses lines as requests for embeddings."""

    lines: LineParser

    def id_of(self, line: Line) -> str:
        """As in `LineParser`."""
        return self.lines.id_of(line)

    def parse(self, line: Line) -> EmbeddingTask:
        """Parse a line. Raises RequestError, which names the field."""
        task = parse_embedding_task(self.lines.record_of(line), line, self.lines.model)
        return self.lines.with_id(task, line)
