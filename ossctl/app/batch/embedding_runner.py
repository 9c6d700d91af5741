"""Runs the lines of an input through an embedding model, many texts in one decode."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

from ossctl.app.batch.line_runner import TICK_SECONDS, Codec, LineRunner, Rules
from ossctl.app.batch.summary import BatchSummary
from ossctl.app.inference.embedding import LoadedEmbedder
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.wire.embeddings import EmbeddingTask, Vector, embedding_list
from ossctl.app.wire.lines import Line
from ossctl.errors import MemoryShortage, OssctlError, RequestError
from ossctl.runtime.base import DecodeFailed, Tokens
from ossctl.storage.journal import Journal

_PATIENCE = 0.002  # seconds to wait for another line before a batch is decoded that is not full


@dataclass
class _Pending:
    """A line whose inputs are being embedded; `index` counts the lines of the input from 0."""

    index: int
    line: Line
    task: EmbeddingTask
    n_tokens: int
    started: float = field(default_factory=perf_counter)
    vectors: list[Vector] = field(default_factory=list)


class EmbeddingRunner(LineRunner[EmbeddingTask]):
    """Runs a batch of texts. Those that wait are decoded when they fill a batch, or when no line is left."""

    def __init__(
        self,
        model: LoadedEmbedder,
        codec: Codec[EmbeddingTask],
        journal: Journal,
        watch: Callable[[BatchSummary], None],
        rules: Rules,
    ) -> None:
        super().__init__(codec, journal, watch, rules)
        self._embedder = model.embedder
        self._model_name = model.name
        self.n_seq = self._embedder.max_inputs
        self._waiting: deque[tuple[_Pending, Tokens]] = deque()

    def _answer_all(self, interrupt: Interrupt) -> None:
        reading = True
        while reading or self._waiting:
            idle = False
            if reading and not self._fills_batch():
                arrival = self._next_arrival(_PATIENCE if self._waiting else TICK_SECONDS)
                idle = arrival is None
                reading = self._handle(arrival) and reading
            interrupt.check(self._resume_hint())
            if self._waiting and (idle or not reading or self._fills_batch()):
                self._embed(list(self._next_batch()))
            self._report_if_due()

    def _submit(self, index: int, line: Line, request: EmbeddingTask) -> None:
        n_embd, limit = self._embedder.n_embd, self._embedder.max_tokens
        if request.dimensions is not None and request.dimensions > n_embd:
            raise RequestError(f"dimensions is {request.dimensions}, the model's vectors have {n_embd}")
        tokens = [self._embedder.tokenize(text) for text in request.inputs]
        longest = max(map(len, tokens))
        if longest > limit:
            which = f"input[{[*map(len, tokens)].index(longest)}]" if len(tokens) > 1 else "input"
            reason = f"{which} has {longest:,} tokens, but the model takes up to {limit:,}"
            raise RequestError(reason, code="context_length_exceeded")
        pending = _Pending(index, line, request, sum(map(len, tokens)))
        self._waiting.extend((pending, each) for each in tokens)

    def _fills_batch(self) -> bool:
        n_tokens = 0
        for count, (_, tokens) in enumerate(self._waiting, 1):
            n_tokens += len(tokens)
            if n_tokens > self._embedder.n_batch or count == self._embedder.max_inputs:
                return True
        return False

    def _next_batch(self) -> Iterator[tuple[_Pending, Tokens]]:
        """Take the first input, and those after it that fit into the same decode."""
        space, most = self._embedder.n_batch, self._embedder.max_inputs
        for count in range(most):
            if not self._waiting or (count and len(self._waiting[0][1]) > space):
                return
            pending, tokens = self._waiting.popleft()
            space -= len(tokens)
            yield pending, tokens

    def _embed(self, batch: list[tuple[_Pending, Tokens]]) -> None:
        try:
            vectors = self._embedder.embed([tokens for _, tokens in batch])
        except DecodeFailed as error:
            raise OssctlError(f"the model failed: {error}", self._resume_hint()) from None
        except MemoryShortage as error:
            for pending in {id(pending): pending for pending, _ in batch}.values():
                self._refuse(pending, RequestError(error.message, code="out_of_memory"))
            return
        for (pending, _), vector in zip(batch, vectors, strict=True):
            pending.vectors.append(vector)
            if len(pending.vectors) == len(pending.task.inputs):
                self._finish(pending)

    def _refuse(self, pending: _Pending, error: RequestError) -> None:
        self._waiting = deque(each for each in self._waiting if each[0] is not pending)
        task = pending.task
        self._fail(pending.index, pending.line, task.custom_id, task.request_key, error)

    def _finish(self, pending: _Pending) -> None:
        task, n_tokens = pending.task, pending.n_tokens
        self.summary.done += 1
        self.summary.prompt_tokens += n_tokens
        self.summary.latency.add(perf_counter() - pending.started)
        self.summary.embedded += len(pending.vectors)
        body = embedding_list(task, pending.vectors, self._model_name, n_tokens)
        self._write(pending.index, lambda: self._records.embeddings(pending.line, task, body))
