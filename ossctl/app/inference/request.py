"""What to generate, and the generations made of it for a model."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from ossctl.app.inference.defaults import SCHEMA_RETRIES
from ossctl.app.inference.generation import Generation
from ossctl.dialect import Conversation, Dialect, Effort, Event, JsonFormat, Message, Think, Tool
from ossctl.engine.breakers import Breakers
from ossctl.engine.grammar import unheld_keywords
from ossctl.engine.request import Request, Sampling
from ossctl.errors import RequestError, UsageError
from ossctl.harmony.references import in_place
from ossctl.planning.attention import USUAL_TOKENS

if TYPE_CHECKING:
    from ossctl.app.inference.loading import LoadedModel

_MAX_CHARACTERS_PER_TOKEN = 8  # on average: a text with fewer may fit
_MAX_NAMED = 5  # keywords of a schema
_CHARACTERS_PER_TOKEN = 4  # in English
_TEMPLATE_TOKENS = 4_096  # for the text and markers of a chat template, a few hundred usually


@dataclass(frozen=True)
class GenerationSpec:
    """A conversation and how to answer it. If `max_tokens` is None, the answer may fill the context window.

    `timeout` is in seconds from the start of the answer. `similar` is another conversation with the prefix
    that later prompts are expected to share. `persist` is as in `Request`. A `raw` conversation is a text to
    be continued. An answer that does not fit its schema is sampled again up to `schema_retries` times.
    """

    conversation: Conversation
    max_tokens: int | None
    stops: tuple[str, ...]
    sampling: Sampling
    timeout: float | None = field(default=None, kw_only=True)
    similar: Conversation | None = field(default=None, kw_only=True)
    persist: bool = field(default=False, kw_only=True)
    raw: bool = field(default=False, kw_only=True)
    schema_retries: int = field(default=SCHEMA_RETRIES, kw_only=True)

    @property
    def max_total_tokens(self) -> int | None:
        """Upper bound of prompt and answer with any model; None if the answer is unlimited.

        A token is at least one byte of text. Templates may add whitespace to schemas, hence the factor of 2.
        """
        if self.max_tokens is None:
            return None
        text = repr((self.conversation, [in_place(tool.parameters) for tool in self.conversation.tools]))
        return 2 * len(text.encode()) + _TEMPLATE_TOKENS + self.max_tokens

    @property
    def likely_tokens(self) -> tuple[int, int]:
        """An estimate of the tokens of prompt and answer, for any model."""
        text = sum(len(message.content) for message in self.conversation.messages)
        return text // _CHARACTERS_PER_TOKEN, min(self.max_tokens or USUAL_TOKENS, USUAL_TOKENS)


def prepare_generation(
    model: "LoadedModel",
    spec: GenerationSpec,
    request_id: str,
    on_event: Callable[[Event], None] | None = None,
    conversation: str = "",
) -> Generation:
    """The generation to submit for `spec`. `on_event` is called on the engine's thread.

    `conversation` is as in `Request`. Raises RequestError if the model's format cannot express the
    conversation or a schema cannot be enforced.
    """
    _refuse_oversized(model, spec.conversation)
    dialect = model.dialect_of(raw=spec.raw)
    prompt = dialect.render(spec.conversation)
    shared = list(_shared_lengths(model, spec, prompt))
    stable = len(prompt)
    if conversation and model.runner.needs_snapshots:
        stable = _stable_length(dialect, spec.conversation, prompt)
        shared.append(stable)
    request = replace(
        _request(model, spec, request_id, prompt),
        conversation=conversation,
        checkpoint=stable == len(prompt),
        shared_lengths=tuple(shared),
        persist=spec.persist,
    )
    return Generation(request, dialect.parser(prompt, spec.conversation), spec.stops, on_event)


def prepare_choices(model: "LoadedModel", spec: GenerationSpec, n: int, request_id: str) -> list[Generation]:
    """`n` generations for one prompt: ids ID, ID.1, ID.2, ... and consecutive seeds. Raises RequestError."""
    _refuse_oversized(model, spec.conversation)
    dialect = model.dialect_of(raw=spec.raw)
    prompt = dialect.render(spec.conversation)
    generations = []
    for index in range(n):
        choice = replace(spec, sampling=spec.sampling.with_later_seed(index))
        name = f"{request_id}.{index}" if index else request_id
        request = _request(model, choice, name, prompt)
        generations.append(Generation(request, dialect.parser(prompt, spec.conversation), choice.stops))
    return generations


def _refuse_oversized(model: "LoadedModel", conversation: Conversation) -> None:
    """Raise RequestError for a prompt that is too long by far, since tokenizing it would delay all others.

    Only the last message counts, without the whitespace around it: a template may drop the rest.
    """
    text, n_ctx = conversation.messages[-1].content.strip(), model.runner.n_ctx_seq
    if len(text) < _MAX_CHARACTERS_PER_TOKEN * n_ctx:
        return
    least = len(text.encode("utf-8", "replace")) // model.longest_piece
    if least > n_ctx:
        reason = f"the prompt has more than {least:,} tokens, but the context window is {n_ctx:,}"
        raise RequestError(reason, code="context_length_exceeded")


def _shared_lengths(model: "LoadedModel", spec: GenerationSpec, prompt: Sequence[int]) -> Iterator[int]:
    """Yield the length of the prefix that the prompt has in common with that of the similar conversation."""
    if spec.similar is not None and model.runner.needs_snapshots:
        yield _common_length(prompt, model.dialect_of(raw=spec.raw).render(spec.similar))


def _stable_length(dialect: Dialect, conversation: Conversation, prompt: Sequence[int]) -> int:
    """Length of the part of the prompt with which the prompt of the next turn starts.

    It excludes what a template writes only before the latest answer, such as a tag that opens reasoning.
    """
    messages = (*conversation.messages, Message("assistant", "x"), Message("user", "x"))
    try:
        return _common_length(prompt, dialect.render(replace(conversation, messages=messages)))
    except RequestError:
        return len(prompt)


def _common_length(prompt: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(prompt, other, strict=False))
    return next((n for n, (mine, others) in pairs if mine != others), min(len(prompt), len(other)))


def _request(model: "LoadedModel", spec: GenerationSpec, request_id: str, prompt: Sequence[int]) -> Request:
    dialect = model.dialect_of(raw=spec.raw)
    conversation, sampling = spec.conversation, spec.sampling
    if sampling.ignore_eos and conversation.formatted:
        raise RequestError("ignore_eos is for answers without a format: one with a format ends when it fits")
    breakers = model.find_breakers(sampling.dry_sequence_breakers) if sampling.dry_multiplier else Breakers()
    return Request(
        id=request_id,
        prompt=np.array(prompt, np.int32),
        max_tokens=model.runner.n_ctx_seq if spec.max_tokens is None else spec.max_tokens,
        sampling=sampling,
        end_ids=dialect.end_ids,
        guide=dialect.guide(conversation, prompt),
        breakers=breakers,
        timeout=spec.timeout,
    )


def check_schema(json_format: JsonFormat | None, model: "LoadedModel") -> None:
    """Raise UsageError for a `--schema` that cannot be enforced, before any request."""
    if json_format is None:
        return
    conversation = Conversation((Message("user", "x"),), json_format=json_format)
    try:
        model.dialect.guide(conversation, model.dialect.render(conversation))
    except RequestError as error:
        _, _, reason = error.message.partition("schema: ")
        raise UsageError(f"--schema: {reason or error.message}") from None


def check_template_variables(variables: Mapping[str, Any], model: "LoadedModel") -> None:
    """Raise UsageError for variables that the model's template does not take, before any request."""
    if not variables:
        return
    try:
        model.dialect.render(Conversation((Message("user", "x"),), template_variables=variables))
    except RequestError as error:
        field, dot, reason = error.message.partition(".")
        if field == "chat_template_kwargs" and dot:
            raise UsageError(f"template variable {reason}") from None


def check_tools(tools: Sequence[Tool], model: "LoadedModel") -> None:
    """Raise UsageError for functions offered to a model that takes none, before any request."""
    if tools:
        check_takes_tools(model.name, model.dialect)


def check_takes_tools(name: str, dialect: Dialect) -> None:
    """Raise UsageError unless a model, by this name, takes functions."""
    if not dialect.takes_tools:
        raise UsageError(
            f"{name} takes no functions: its chat template has none",
            "Leave out the options that offer some, or give another template with --template FILE.",
        )


def check_reasoning(
    model: "LoadedModel",
    *,
    effort: Effort | None = None,
    max_reasoning_tokens: int | None = None,
    think: Think | None = None,
) -> None:
    """Raise UsageError if the model cannot reason so, before any request."""
    conversation = Conversation(
        (Message("user", "x"),), effort=effort, max_reasoning_tokens=max_reasoning_tokens, think=think
    )
    try:
        model.dialect.render(conversation)
    except RequestError as error:
        raise UsageError(error.message) from None


def schema_remarks(json_format: JsonFormat | None) -> Iterator[str]:
    """What users should know of how a `--schema` is enforced."""
    unheld = unheld_keywords(json_format.schema) if json_format else ()
    if unheld:
        more = f" and {len(unheld) - _MAX_NAMED} more" if len(unheld) > _MAX_NAMED else ""
        yield f"Checked in the finished answer, not while sampling: {', '.join(unheld[:_MAX_NAMED])}{more}."


class _ReasoningSettings(Protocol):
    """A dataclass with the settings of reasoning."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def effort(self) -> Effort | None: ...
    @property
    def max_reasoning_tokens(self) -> int | None: ...
    @property
    def think(self) -> Think | None: ...


_Settings = TypeVar("_Settings", bound=_ReasoningSettings)


def supported_reasoning(
    settings: _Settings, model: "LoadedModel", optional: Collection[str] = ()
) -> _Settings:
    """The settings without those that `model` does not support, if they are `optional`.

    Raises UsageError for others that it does not support, before any request.
    """
    unknown = {"effort", "max_reasoning_tokens", "think"} - model.dialect.reasoning_settings
    removed = [name for name in sorted(unknown) if getattr(settings, name) is not None]
    for name in removed:
        if name not in optional:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is not for {model.name}: its chat format has no such setting")
    return replace(settings, **dict.fromkeys(removed))
