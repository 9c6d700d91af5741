"""The engine: requests in, tokens out, one decode per step."""

from collections.abc import Iterator
from time import perf_counter

from ossctl.engine.drafts import (
    Drafter,
    DraftOptions,
    Verification,
    verifications,
    without_drafts,
)
from ossctl.engine.isolation import Batch, decode_isolated
from ossctl.engine.persistence import Persistence
from ossctl.engine.prefix_disk import PrefixDisk
from ossctl.engine.request import EngineStats, Failed, Generated, Output, Prefilled, Request
from ossctl.engine.sampler import BadLogits
from ossctl.engine.sampler_pool import Sampled, SampleError, SampleJob, SamplerPool
from ossctl.engine.scheduler import Scheduler
from ossctl.engine.sequence import Sequence
from ossctl.errors import RequestError
from ossctl.guide import GuideFailed
from ossctl.runtime.base import CacheFull, DecodeAborted, DecodeFailed, Logits, Runner


class Engine:
    """Continuous batching: requests join and leave between any two steps.

    Not thread-safe: one thread submits, steps and cancels. If `isolated`, answers do not depend on the other
    requests (`engine/isolation.py`). With `drafts`, draft tokens are decoded together with the token before
    them and accepted if they are then sampled (`engine/drafts.py`). An isolated engine drafts nothing, nor
    does one of a recurrent model, whose state cannot drop a rejected token.
    """

    def __init__(
        self,
        runner: Runner,
        disk: PrefixDisk | None = None,
        *,
        isolated: bool = False,
        drafts: DraftOptions | None = None,
    ) -> None:
        self._runner = runner
        can_draft = not (isolated or runner.recurrent)
        self._drafter = Drafter(runner, drafts) if drafts is not None and can_draft else None
        self._isolated = isolated
        self._persistence = Persistence(runner, None if isolated else disk)
        self._samplers = SamplerPool(runner.n_vocab, runner.n_threads)
        self._scheduler = Scheduler(runner, self._persistence, isolated=isolated)
        self._sequences: dict[str, Sequence] = {}
        self.stats = EngineStats()

    @property
    def busy(self) -> bool:
        """Whether any request is waiting or running."""
        return bool(self._sequences)

    def num_computed_tokens(self, request_id: str) -> int:
        """Tokens of a running request that are in the cache; 0 for any other. From any thread."""
        sequence = self._sequences.get(request_id)
        return sequence.num_computed_tokens if sequence else 0

    def submit(self, request: Request) -> None:
        """Queue a request. Raises RequestError if it can't be answered, ValueError if its id is in use."""
        if request.id in self._sequences:
            raise ValueError(f"there is a request {request.id} already")
        self.check(request)
        # The last token sampled is not put into the cache, so an answer may be one longer than the context.
        sequence = Sequence(request, self._runner.n_ctx_seq + 1)
        self._sequences[request.id] = sequence
        self._scheduler.waiting.append(sequence)

    def cancel(self, request_id: str) -> bool:
        """End a request without further outputs; False if there is none with that id."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is not None:
            self._scheduler.release(sequence)
        return sequence is not None

    def clear(self) -> None:
        """Cancel all requests and empty the cache."""
        for request_id in tuple(self._sequences):
            self.cancel(request_id)
        self._scheduler.clear()

    def step(self) -> list[Output]:
        """Schedule, decode, collect. Returns new tokens and the requests that ended.

        Raises DecodeFailed. No request is lost: later steps compute them again, after DecodeAborted only the
        part that is missing.
        """
        started = perf_counter()
        outputs: list[Output] = list(self._fail_overdue(started))
        if batch := self._scheduler.schedule():
            outputs += self._advance(batch)
        outputs += self._finish_prefills()
        self.stats.steps += 1
        self.stats.step_seconds += perf_counter() - started
        return outputs

    def save(self, *, ending: bool = False) -> bool:
        """Write the contents of idle slots to disk, if that pays, now or later; False if it does not.

        `ending`: the engine is not used any more, so that nothing better can follow.
        """
        return self._scheduler.save(ending=ending)

    def running(self) -> list[tuple[str, float]]:
        """The running requests and the seconds since each was admitted. From any thread."""
        now = perf_counter()
        return [(s.request.id, now - s.admitted_at) for s in tuple(self._scheduler.running)]

    def _fail_overdue(self, now: float) -> Iterator[Failed]:
        for sequence in tuple(self._scheduler.running):
            timeout = sequence.request.timeout
            if timeout is not None and now - sequence.admitted_at > timeout:
                self.cancel(sequence.request.id)
                n_tokens = sequence.num_generated_tokens
                reason = f"no answer within {timeout:g} s; {n_tokens:,} tokens were generated"
                yield Failed(sequence.request.id, reason, "timeout")

    def _finish_prefills(self) -> Iterator[Prefilled]:
        """End the requests that want no answer and have all of their prompt in the cache."""
        for sequence in tuple(self._scheduler.running):
            if not sequence.num_uncomputed_tokens:
                self.stats.cached_tokens += sequence.num_cached_tokens
                self.cancel(sequence.request.id)
                yield Prefilled(sequence.request.id, sequence.num_cached_tokens)

    def _advance(self, batch: Batch) -> list[Output]:
        """Decode the batch, with drafts if that may pay, and sample."""
        drafter = self._drafter
        if drafter is not None:
            batch = drafter.extend(batch)
        logits = self._decode(batch)
        if logits is None and any(chunk.n_drafted for _, chunk in batch):
            batch = without_drafts(batch)
            logits = self._decode(batch)
        if drafter is not None and logits is not None:
            if drafter.needs_proof(batch):
                drafter.begin_proof(batch, logits)
                batch = self._taken_back(batch)
                if not batch:
                    return []
                logits = self._decode(batch)
            if logits is not None:
                drafter.compare(batch, logits)
        return self._free_cells() if logits is None else self._collect(batch, logits)

    def _taken_back(self, batch: Batch) -> Batch:
        """`batch` before its decode and without drafts. A sequence whose window is lost is preempted."""
        for sequence, _ in batch:
            self._scheduler.cut(sequence.assigned_slot, sequence, sequence.num_computed_tokens)
        return [(sequence, chunk) for sequence, chunk in without_drafts(batch) if sequence.slot is not None]

    def _decode(self, batch: Batch) -> Logits | None:
        """Logits of the batch, or None if the cache is full."""
        started = perf_counter()
        try:
            chunks = [chunk for _, chunk in batch]
            runner = self._runner
            logits = decode_isolated(runner, chunks) if self._isolated else runner.decode(chunks)
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
        self._measure(batch, perf_counter() - started)
        return logits

    def _measure(self, batch: Batch, seconds: float) -> None:
        n_tokens = sum(len(chunk.tokens) for _, chunk in batch)
        n_drafted = sum(chunk.n_drafted for _, chunk in batch)
        n_prompt = sum(len(c.tokens) for s, c in batch if s.num_computed_tokens < len(s.prompt))
        self._persistence.measure(n_prompt, seconds * n_prompt / n_tokens)
        if self._drafter is not None:
            self._drafter.costs.measure(n_tokens, n_drafted, seconds)
        for sequence, chunk in batch:
            sequence.assigned_slot.unsaved_seconds += seconds * len(chunk.tokens) / n_tokens

    def _collect(self, batch: Batch, logits: Logits) -> list[Output]:
        for sequence, chunk in batch:
            self._count_prompt_tokens(sequence, len(chunk.tokens))
            self._scheduler.on_decoded(sequence, chunk)
        outputs: list[Output] = []
        ready = verified = verifications(batch, logits)
        while ready:  # a round for each accepted token, at least one
            for verification, result in zip(ready, self._sample(ready), strict=True):
                try:
                    self._append(verification, result, outputs)
                except (BadLogits, GuideFailed) as error:
                    verification.continues = False
                    self.cancel(verification.sequence.request.id)
                    outputs.append(Failed(verification.sequence.request.id, str(error)))
            ready = [verification for verification in ready if verification.continues]
        for verification in verified:
            self.stats.drafted_tokens += verification.n_drafted
            self.stats.accepted_tokens += verification.n_accepted
            self._scheduler.retract(verification)
        return outputs

    def _sample(self, ready: list[Verification]) -> list[Sampled | SampleError]:
        started = perf_counter()
        results = self._samplers.sample(
            [
                SampleJob(
                    verification.row,
                    sequence.request.sampling,
                    sequence.uniform(),
                    sequence.request.guide,
                    sequence.history,
                    sequence.withheld_ids,
                )
                for verification in ready
                for sequence in (verification.sequence,)
            ]
        )
        self.stats.sample_seconds += perf_counter() - started
        return results

    def _append(
        self, verification: Verification, result: Sampled | SampleError, outputs: list[Output]
    ) -> None:
        """Append the sampled token and those that are forced to follow it, which need no logits."""
        if not isinstance(result, Sampled):
            raise result
        sequence = verification.sequence
        outputs.append(self._append_token(verification, result))
        while forced := sequence.forced():
            for token in forced:
                sequence.uniform()  # one per token, as when log probabilities rule out forced runs
                outputs.append(self._append_token(verification, Sampled(token, None), forced=True))
                if sequence.finish is not None:
                    return

    def _append_token(
        self, verification: Verification, sampled: Sampled, *, forced: bool = False
    ) -> Generated:
        sequence = verification.sequence
        self.stats.generated_tokens += 1
        sequence.append(sampled.token, forced=forced)
        verification.compare(sampled.token)
        if sequence.finish is not None:
            self.stats.cached_tokens += sequence.num_cached_tokens
            self.cancel(sequence.request.id)
        return Generated(
            sequence.request.id,
            sampled.token,
            sampled.logprob,
            sequence.finish,
            sequence.num_cached_tokens,
            perf_counter() - sequence.admitted_at,
            sequence.num_drafted,
            sequence.num_accepted,
        )

    def _free_cells(self) -> list[Output]:
        stuck = self._scheduler.evict_or_preempt()
        if stuck is None:
            return []
        self.cancel(stuck.request.id)
        return [Failed(stuck.request.id, f"the KV cache has no space for {stuck.num_tokens:,} tokens")]

    def _count_prompt_tokens(self, sequence: Sequence, n_tokens: int) -> None:
        if sequence.num_computed_tokens >= len(sequence.prompt):
            return
        if sequence.preempted:
            self.stats.recomputed_tokens += n_tokens
        else:
            self.stats.prompt_tokens += n_tokens

    def check(self, request: Request) -> None:
        """Raise RequestError for a request that can never be answered."""
        prompt, sampling, n_ctx = request.prompt, request.sampling, self._runner.n_ctx_seq
        sampling.validate()
        if not len(prompt):
            raise RequestError("the prompt is empty")
        if request.max_tokens < 0:
            raise RequestError(f"max_tokens is {request.max_tokens}, must be at least 0")
        if sampling.min_tokens > request.max_tokens > 0:
            limit = f"the answer is limited to {request.max_tokens:,} tokens"
            raise RequestError(f"min_tokens is {sampling.min_tokens:,}, but {limit}")
        if len(prompt) > n_ctx:
            reason = f"the prompt has {len(prompt):,} tokens, but the context window is {n_ctx:,}"
            raise RequestError(reason, code="context_length_exceeded")
        vocabulary = range(self._runner.n_vocab)
        if int(prompt.min()) not in vocabulary or int(prompt.max()) not in vocabulary:
            raise RequestError("the prompt has a token id outside of the vocabulary")
        for token in sampling.logit_bias:
            if token not in vocabulary:
                raise RequestError(
                    f"logit_bias has token {token}, but the vocabulary ends at {len(vocabulary) - 1:,}"
                )
