"""One answer, from tokens to text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ossctl.dialect import Answer, Event, Parser, Preamble, Reasoning, Recovered, ToolCall, content_of
from ossctl.engine.request import FinishReason, Generated, Prefilled, Request, TokenLogprob
from ossctl.engine.stop import StopStrings
from ossctl.errors import RequestError


@dataclass(frozen=True)
class RunningTotals:
    """What was generated before the results of tools continued an answer. Counts are in tokens.

    `tool_results` are the calls and their results, as JSON objects.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    rejected: int = 0
    drafted: int = 0
    accepted: int = 0
    reasoning_text: str = ""
    tool_results: tuple[Mapping[str, Any], ...] = ()

    def draft_usage(self) -> dict[str, int]:
        """Fields of `usage`; none if nothing was drafted."""
        return draft_usage(self.drafted, self.accepted)


def draft_usage(drafted: int, accepted: int) -> dict[str, int]:
    """The fields of `usage` on drafted tokens; none if there were none."""
    return {"drafted_tokens": drafted, "accepted_tokens": accepted} if drafted else {}


class Generation:
    """Collects the answer to a request. Stop strings apply to the answer only, not to the reasoning.

    As in vLLM, they do not apply to the first `min_tokens` tokens.

    `tokens` are all that the model generated. `recovered` lists what was wrong with their format, without
    duplicates. `attempts` counts this one and those before it, of `rejected_tokens`, that did not fit the
    schema. If the answer continues one with tool calls, `earlier` counts what was generated until then.
    `on_event` is called with each event once no stop string can discard it.
    """

    def __init__(
        self,
        request: Request,
        parser: Parser,
        stops: Sequence[str] = (),
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.request = request
        self.finish: FinishReason | None = None
        self.error: RequestError | None = None
        self.earlier = RunningTotals()
        self.attempts = 1
        self.rejected_tokens = 0
        self.cached_tokens = 0
        self.drafted = self.accepted = 0  # draft tokens decoded, and those accepted
        self.seconds = 0.0  # from its admission to its latest token
        self.first_token_seconds = 0.0
        self.tokens: list[int] = []
        self.logprobs: list[tuple[int, TokenLogprob]] = []  # of the answer's tokens
        self.calls: list[ToolCall] = []
        self.recovered: dict[str, None] = {}
        self._parser = parser
        self._stops = StopStrings(stops)
        self._on_event = on_event
        self._answer: list[str] = []
        self._preamble: list[str] = []
        self._reasoning: list[str] = []

    @property
    def content(self) -> str:
        return content_of(self._preamble, self._answer)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def all_reasoning(self) -> str:
        """The reasoning, with that of earlier answers to the same message."""
        return "\n\n".join(filter(None, (self.earlier.reasoning_text, self.reasoning)))

    @property
    def totals(self) -> RunningTotals:
        """This answer's counts and reasoning added to those of `earlier`, as the next round needs them."""
        earlier = self.earlier
        return RunningTotals(
            earlier.prompt + len(self.request.prompt),
            earlier.cached + self.cached_tokens,
            earlier.completion + self.completion_tokens + self.rejected_tokens,
            earlier.reasoning + self.reasoning_tokens,
            earlier.rejected + self.rejected_tokens,
            earlier.drafted + self.drafted,
            earlier.accepted + self.accepted,
            self.all_reasoning,
            earlier.tool_results,
        )

    @property
    def completion_tokens(self) -> int:
        return len(self.tokens)

    @property
    def reasoning_tokens(self) -> int:
        return self._parser.reasoning_tokens

    @property
    def stopped_by_string(self) -> bool:
        """Whether a stop string ended the answer."""
        return self._stops.hit

    @property
    def cut_in_reasoning(self) -> bool:
        """Whether a limit or a repetition ended the reasoning before the answer started."""
        cut = self.finish in (FinishReason.LENGTH, FinishReason.REPETITION)
        return cut and bool(self.reasoning_tokens) and not self.content and not self.calls

    @property
    def _too_short(self) -> bool:
        return len(self.tokens) <= self.request.sampling.min_tokens

    def feed(self, output: Generated) -> None:
        """Add the next token. Sets `finish` if the answer is complete with it."""
        if not self.tokens:
            self.first_token_seconds = output.seconds
        self.tokens.append(output.token)
        self.cached_tokens = output.cached_tokens
        self.drafted, self.accepted = output.drafted, output.accepted
        self.seconds = output.seconds
        reasoning_before = self.reasoning_tokens
        self._collect(self._parser.feed(output.token))
        if self.reasoning_tokens > reasoning_before:
            if not self.content:
                self.logprobs.clear()  # of the tokens that opened the reasoning
        elif output.logprob and self._parser.answering and output.token not in self.request.end_ids:
            self.logprobs.append((output.token, output.logprob))
        if self._stops.hit:
            self.finish = FinishReason.STOP
        elif output.finish is not None:
            self._close(output.finish)

    def again(self, request: Request, parser: Parser, stops: Sequence[str]) -> "Generation":
        """A generation that replaces this one."""
        new = Generation(request, parser, stops, self._on_event)
        new.earlier = self.earlier
        new.attempts = self.attempts + 1
        new.rejected_tokens = self.rejected_tokens + self.completion_tokens
        return new

    def finish_prefill(self, output: Prefilled) -> None:
        """End a request that asked for no tokens."""
        self.cached_tokens = output.cached_tokens
        self.finish = FinishReason.LENGTH

    def cancel(self) -> None:
        """End the answer with the tokens so far."""
        self._close(FinishReason.CANCELLED)

    def _close(self, finish: FinishReason) -> None:
        self._collect(self._parser.close(cut=finish is not FinishReason.STOP))
        self._add(self._stops.close())
        if self._stops.hit:
            finish = FinishReason.STOP
        elif finish is FinishReason.STOP and self.calls:
            finish = FinishReason.TOOL_CALLS
        self.finish = finish

    def _collect(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Answer(text):
                    self._add(text if self._too_short else self._stops.feed(text))
                    continue
                case Reasoning(text):
                    self._reasoning.append(text)
                case Preamble(text):
                    self._preamble.append(text)
                case ToolCall():
                    self.calls.append(event)
                case Recovered(what):
                    self.recovered[what] = None
            self._emit(event)

    def _add(self, text: str) -> None:
        if text:
            self._answer.append(text)
            self._emit(Answer(text))

    def _emit(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
