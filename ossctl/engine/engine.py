"""The engine: requests in, tokens out, one decode a step."""

from collections.abc import Iterator
from time import perf_counter

from ossctl.engine.request import EngineStats, Failed, Generated, Output, Prefilled, Request
from ossctl.engine.sampler import BadLogits
from ossctl.engine.sampler_pool import Draw, Drawn, NotDrawn, SamplerPool
from ossctl.engine.scheduler import Batch, Scheduler
from ossctl.engine.sequence import Sequence
from ossctl.errors import RequestError
from ossctl.guide import GuideFailed
from ossctl.runtime.base import CacheFull, DecodeAborted, DecodeFailed, Logits, Runner


class Engine:
    """Continuous batching: requests join and leave between any two steps.

    Not thread-safe: one thread submits, steps and cancels.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._samplers = SamplerPool(runner.n_vocab, runner.n_threads)
        self._scheduler = Scheduler(runner)
        self._sequences: dict[str, Sequence] = {}
        self.stats = EngineStats()

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._sequences)

    def computed(self, request_id: str) -> int:
        """Tokens of a running request that are in the cache; 0 for any other. From any thread."""
        sequence = self._sequences.get(request_id)
        return sequence.computed if sequence else 0

    def submit(self, request: Request) -> None:
        """Queue a request. Raises RequestError if it can never be answered; ValueError for a used id."""
        if request.id in self._sequences:
            raise ValueError(f"request {request.id} is running already")
        self.check(request)
        # The last token drawn is not put into the cache, so an answer may be one longer than its room.
        sequence = Sequence(request, self._runner.n_ctx_seq + 1)
        self._sequences[request.id] = sequence
        self._scheduler.waiting.append(sequence)

    def cancel(self, request_id: str) -> bool:
        """End a request without another word; False if there is none of that id."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is not None:
            self._scheduler.release(sequence)
        return sequence is not None

    def step(self) -> list[Output]:
        """Schedule, decode, collect. Returns the new tokens and the requests that ended.

        Raises DecodeFailed; the requests are still there, and another step computes them again, after
        DecodeAborted only what is missing.
        """
        started = perf_counter()
        outputs: list[Output] = list(self._overdue(started))
        if batch := self._scheduler.schedule():
            logits = self._decode(batch)
            outputs += self._make_room() if logits is None else self._collect(batch, logits)
        outputs += self._prefilled()
        self.stats.steps += 1
        self.stats.step_seconds += perf_counter() - started
        return outputs

    def running(self) -> list[tuple[str, float]]:
        """The requests in the cache and the seconds since each was admitted. From any thread."""
        now = perf_counter()
        return [(s.request.id, now - s.admitted) for s in tuple(self._scheduler.running)]

    def _overdue(self, now: float) -> Iterator[Failed]:
        """End the requests whose time is up."""
        for sequence in tuple(self._scheduler.running):
            timeout = sequence.request.timeout
            if timeout is not None and now - sequence.admitted > timeout:
                self.cancel(sequence.request.id)
                reason = f"no answer within {timeout:g} s; {sequence.generated:,} tokens were there"
                yield Failed(sequence.request.id, reason, "timeout")

    def _prefilled(self) -> Iterator[Prefilled]:
        """End the requests that want no answer and have their prompt in the cache."""
        for sequence in tuple(self._scheduler.running):
            if not sequence.num_uncomputed:
                self.stats.cached_tokens += sequence.cached
                self.cancel(sequence.request.id)
                yield Prefilled(sequence.request.id, sequence.cached)

    def _decode(self, batch: Batch) -> Logits | None:
        """Logits of the batch, or None if the cache is full."""
        started = perf_counter()
        try:
            return self._runner.decode([chunk for _, chunk in batch])
        except CacheFull:
            return None
        except DecodeAborted as aborted:
            self._scheduler.on_abort(batch, aborted.lengths)
            raise
        except DecodeFailed:
            self._scheduler.preempt_all()
            raise
        finally:
            self.stats.decode_seconds += perf_counter() - started

    def _collect(self, batch: Batch, logits: Logits) -> list[Output]:
        for sequence, chunk in batch:
            self._count(sequence, len(chunk.tokens))
            self._scheduler.computed(sequence, chunk)
        ready = [sequence for sequence, chunk in batch if chunk.wants_logits]
        started = perf_counter()
        drawn = self._samplers.draw(
            [
                Draw(row, sequence.request.sampling, sequence.uniform(), sequence.request.guide)
                for sequence, row in zip(ready, logits, strict=True)
            ]
        )
        self.stats.sample_seconds += perf_counter() - started
        outputs: list[Output] = []
        for sequence, result in zip(ready, drawn, strict=True):
            try:
                self._append(sequence, result, outputs)
            except (BadLogits, GuideFailed) as error:
                self.cancel(sequence.request.id)
                outputs.append(Failed(sequence.request.id, str(error)))
        return outputs

    def _append(self, sequence: Sequence, result: Drawn | NotDrawn, outputs: list[Output]) -> None:
        """Take what was drawn, and what is forced to follow: that needs no logits of its own."""
        if not isinstance(result, Drawn):
            raise result
        outputs.append(self._take(sequence, result))
        while forced := sequence.forced():
            for token in forced:
                sequence.uniform()  # as if it were drawn: asking for log probabilities changes nothing
                outputs.append(self._take(sequence, Drawn(token, None)))
                if sequence.finish is not None:
                    return

    def _take(self, sequence: Sequence, drawn: Drawn) -> Generated:
        request = sequence.request
        self.stats.generated_tokens += 1
        finish = sequence.append(drawn.token)
        if finish is not None:
            self.stats.cached_tokens += sequence.cached
            self.cancel(request.id)
        seconds = perf_counter() - sequence.admitted
        return Generated(request.id, drawn.token, drawn.logprob, finish, sequence.cached, seconds)

    def _make_room(self) -> list[Output]:
        stuck = self._scheduler.evict_or_preempt()
        if stuck is None:
            return []
        self.cancel(stuck.request.id)
        return [Failed(stuck.request.id, f"the cache has no room for {stuck.length} tokens")]

    def _count(self, sequence: Sequence, n_tokens: int) -> None:
        if sequence.computed >= len(sequence.prompt):
            return
        if sequence.preempted:
            self.stats.recomputed_tokens += n_tokens
        else:
            self.stats.prompt_tokens += n_tokens

    def check(self, request: Request) -> None:
        """Raise RequestError for a request that can never be answered."""
        prompt, sampling = request.prompt, request.sampling
        sampling.validate()
        if not len(prompt):
            raise RequestError("the prompt is empty")
        if request.max_tokens < 0:
            raise RequestError(f"max_tokens is {request.max_tokens}, must be at least 0")
        if len(prompt) > self._runner.n_ctx_seq:
            raise RequestError(
                f"the prompt has {len(prompt):,} tokens, the context {self._runner.n_ctx_seq:,}",
                code="context_length_exceeded",
            )
        known = range(self._runner.n_vocab)
        if int(prompt.min()) not in known or int(prompt.max()) not in known:
            raise RequestError("the prompt has a token that the model does not know")
        for token in sampling.logit_bias:
            if token not in known:
                raise RequestError(f"logit_bias names token {token}; the model has {len(known):,}")
