"""One answer on its way from tokens to text."""

from collections.abc import Sequence

from ossctl.dialect import Event, Parser, Reasoning
from ossctl.engine.request import FinishReason, Generated, Request, TokenLogprob
from ossctl.engine.stop import StopStrings
from ossctl.errors import RequestError


class Generation:
    """Collects a request's answer. Stop strings look at the answer alone, not at the reasoning."""

    def __init__(self, request: Request, parser: Parser, stops: Sequence[str] = ()) -> None:
        self.request = request
        self.finish: FinishReason | None = None
        self.error: RequestError | None = None
        self.completion_tokens = self.reasoning_tokens = self.cached_tokens = 0
        self.logprobs: list[tuple[int, TokenLogprob]] = []  # of the answer's tokens
        self._parser = parser
        self._stops = StopStrings(stops)
        self._answer: list[str] = []
        self._reasoning: list[str] = []

    @property
    def content(self) -> str:
        return "".join(self._answer)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    def feed(self, output: Generated) -> None:
        """Take the next token. When `finish` is set afterwards, the answer is complete."""
        self.completion_tokens += 1
        self.cached_tokens = output.cached_tokens
        self._collect(self._parser.feed(output.token))
        if self._parser.thinking:
            self.reasoning_tokens = self.completion_tokens
            self.logprobs.clear()  # of the tokens that opened the reasoning
        elif output.logprob is not None and output.token not in self.request.end_ids:
            self.logprobs.append((output.token, output.logprob))
        if self._stops.hit:
            self.finish = FinishReason.STOP
        elif output.finish is not None:
            self._close(output.finish)

    def _close(self, finish: FinishReason) -> None:
        self._collect(self._parser.close())
        self._answer.append(self._stops.close())
        self.finish = FinishReason.STOP if self._stops.hit else finish

    def _collect(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Reasoning):
                self._reasoning.append(event.text)
            else:
                self._answer.append(self._stops.feed(event.text))
