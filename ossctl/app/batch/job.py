"""A batch without its model."""

from dataclasses import dataclass

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.line_runner import Rules
from ossctl.app.batch.sink import Sink
from ossctl.app.user_text import check_stdin
from ossctl.app.wire.source import Source, Survey
from ossctl.errors import UsageError


@dataclass(frozen=True)
class BatchJob:
    """Everything about a batch except its model."""

    source: Source
    sink: Sink
    parser: LineParser
    rules: Rules

    def prepare(self) -> Survey | None:
        """Check the files and survey the input, if it can be read twice. Raises UsageError."""
        self.sink.check(self.source)
        if self.source.path is None:
            check_stdin()
        if self.source.is_rereadable:
            return self.source.survey(self.parser.id_of)
        if self.source.sample is not None:
            raise UsageError("--sample needs an input that is a file", "A pipe can be read only once.")
        return None
