"""Decodes the records of an output: which request each answers, and how it ended."""

import msgspec

from ossctl.app.batch.records import ID_PREFIX, ID_PREFIX_1

RECORD_START = b'{"id":"batch_req_ossctl'
_STARTS = tuple(f'{{"id":"{prefix}'.encode() for prefix in (ID_PREFIX, ID_PREFIX_1))


class _Error(msgspec.Struct):
    code: str


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    completion_tokens: int | None = None  # if there are several


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0  # of the Responses API
    output_tokens: int = 0


class _Body(msgspec.Struct):
    choices: list[_Choice] = []
    model: str = ""
    usage: _Usage = msgspec.field(default_factory=_Usage)
    status: str | None = None  # of the Responses API
    created: int = 0
    created_at: int = 0  # of the Responses API


class _Response(msgspec.Struct):
    body: _Body | None = None


class Record(msgspec.Struct):
    """The fields of a record, OpenAI's or flat, that say which request it answers and how that ended."""

    id: str
    custom_id: str
    error: _Error | None = None
    response: _Response | msgspec.UnsetType | None = msgspec.UNSET
    choices: list[_Choice] = []
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    created: int = 0

    @property
    def is_flat(self) -> bool:
        return self.response is msgspec.UNSET

    @property
    def failed(self) -> bool:
        return self.error is not None

    @property
    def is_of_version_1(self) -> bool:
        return self.id.startswith(ID_PREFIX_1)

    @property
    def model(self) -> str:
        """The name of the model that answered; empty for a failure and in a flat record."""
        return self._body.model

    @property
    def cut(self) -> bool:
        """Whether a token limit or the context ended any of its answers."""
        return self._body.status == "incomplete" or any(
            choice.finish_reason == "length" for choice in self._choices
        )

    @property
    def n_prompt(self) -> int:
        """Tokens of its prompt."""
        return self._body.usage.prompt_tokens or self._body.usage.input_tokens or self.prompt_tokens

    @property
    def n_generated(self) -> int:
        """Tokens of all its answers."""
        usage = self._body.usage
        return usage.completion_tokens or usage.output_tokens or self.completion_tokens

    @property
    def time(self) -> int:
        """When it was answered, in Unix seconds; 0 for a failure or embeddings, which do not have it."""
        return self._body.created or self._body.created_at or self.created

    @property
    def longest(self) -> int:
        """Tokens of its longest answer. Version 1 has the sum of several, or here the average if cut."""
        counts, total = [choice.completion_tokens for choice in self._choices], self.n_generated
        known = [count for count in counts if count is not None]
        return max(known) if len(known) == len(counts) else total // (len(counts) if self.cut else 1)

    @property
    def _body(self) -> _Body:
        return ((self.response or None) and self.response.body) or _Body()

    @property
    def _choices(self) -> list[_Choice]:
        return self._body.choices or self.choices or [_Choice(self.finish_reason)]


_decoder = msgspec.json.Decoder(Record)


def decode_record(line: bytes) -> Record | None:
    """Decode a line of an output; None if it is not a complete record of ours."""
    if not line.startswith(_STARTS):
        return None
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
