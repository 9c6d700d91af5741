"""What a line of the input asks for: a request as it stands, or a record that a prompt is made of."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from ossctl.app.inference.defaults import Defaults
from ossctl.app.wire.chat_completions import Task, custom_id_of, default_id, read_record, task_of
from ossctl.app.wire.lines import Line


class Template(Protocol):
    """Makes a prompt of a record."""

    def render(self, record: dict[str, Any]) -> str:
        """Raises RequestError."""


class Column:
    """The prompt is a field as it stands."""

    def __init__(self, name: str) -> None:
        self._name = name

    def render(self, record: dict[str, Any]) -> str:
        """See `Template.render`."""
        return str(record[self._name])


@dataclass(frozen=True)
class Understanding:
    """How lines are read. `template` None: they are requests. `assign_ids`: their numbers are their ids."""

    defaults: Defaults
    template: Template | None = None
    assign_ids: bool = False

    def id_of(self, line: Line) -> str:
        """The id under which a line's answer is written, whether it is understood or not."""
        return default_id(line) if self.assign_ids else custom_id_of(line)

    def task(self, line: Line) -> Task:
        """What a line asks for. Raises RequestError, which names the field."""
        record = read_record(line)
        if self.template is not None:
            ids = {name: record[name] for name in ("custom_id", "id") if record.get(name) is not None}
            first = dict([*ids.items()][:1])  # as in `custom_id_of`
            record = {**({} if self.assign_ids else first), "prompt": self.template.render(record)}
        task = task_of(record, line, self.defaults)
        return replace(task, custom_id=default_id(line)) if self.assign_ids else task
