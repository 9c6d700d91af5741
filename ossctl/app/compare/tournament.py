"""Has the contestants answer, one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from time import monotonic

import msgspec

from ossctl.app.compare.answering import Answering, Finished
from ossctl.app.compare.contestants import Entrant
from ossctl.app.compare.results import Answer, Contestant
from ossctl.app.compare.resume import drop_changed
from ossctl.app.compare.stage import Stage
from ossctl.app.compare.store import NotWritten
from ossctl.app.inference.finish import answer_finish
from ossctl.app.inference.loading import LoadedModel
from ossctl.app.inference.request import check_schema, check_template_variables, supported_reasoning
from ossctl.app.placement.fingerprint import fingerprint_of
from ossctl.app.placement.shapes import shards_of
from ossctl.app.wire.chat_completions import Task
from ossctl.errors import Interrupted, ModelError, OssctlError
from ossctl.planning.workload import Purpose, Workload
from ossctl.text import counted


class Tournament:
    """Fills a comparison with answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._comparison = stage.comparison
        self._seen: set[object] = set()  # settings of those that have answered

    def play(self, entrants: Sequence[Entrant]) -> list[OssctlError]:
        """Have contestants that share a loaded model answer. Returns why they failed, if they did.

        Raises Interrupted and NotWritten.
        """
        errors: list[OssctlError] = []
        waiting = list(entrants)
        try:
            waiting = [entrant for entrant in entrants if self._lacks_answers(entrant)]
            if waiting:
                first = waiting[0]
                with (
                    self._stage.loaded(first.label, first, self._workload(first)) as (model, seconds),
                    Answering(model, self._stage.job.tools, self._stage.interrupt) as answering,
                ):
                    while waiting:
                        self._answer(waiting[0], model, answering, seconds)
                        waiting.pop(0)
                        self._stage.save()
        except (Interrupted, NotWritten):
            raise
        except OssctlError as error:
            errors = [error]
            self._fail(waiting, error)
            self._stage.save()
        return errors

    def _lacks_answers(self, entrant: Entrant) -> bool:
        """Whether any answer is missing; those of an earlier run to other settings are dropped."""
        if not self._comparison.answers_of(entrant.label):
            return True
        keys = _keys(entrant, self._stage.job.tasks(entrant))
        if dropped := drop_changed(self._comparison, entrant.label, keys):
            self._stage.view.remark(
                f"{entrant.label}: {counted(dropped, 'answer')} with other settings will be generated again."
            )
        return any((prompt, entrant.label) not in self._comparison.answers for prompt in keys)

    def _workload(self, entrant: Entrant) -> Workload:
        likely = [task.likely_tokens for task in self._stage.job.tasks(entrant)]
        prompt, answer = (sum(tokens) // len(likely) for tokens in zip(*likely, strict=True))
        n_prompts = len(self._comparison.prompts)
        return Workload(Purpose.BATCH, n_prompts, prompt_tokens=prompt, answer_tokens=answer)

    def _answer(
        self, entrant: Entrant, model: LoadedModel, answering: Answering, load_seconds: float
    ) -> None:
        """Have one contestant answer the prompts that it has not. Raises OssctlError, Interrupted."""
        entrant, tasks = self._supported(entrant, model)
        if entrant.settings in self._seen:
            return
        self._seen.add(entrant.settings)
        label, comparison = entrant.label, self._comparison
        keys = _keys(entrant, tasks)
        drop_changed(comparison, label, keys)
        tasks = [task for task in tasks if (task.custom_id, label) not in comparison.answers]
        contestant = _contestant(entrant, model, load_seconds)
        started = monotonic() - self._seconds_before(label)
        self._place(contestant, monotonic() - started)
        self._stage.keep(now=True)

        def finished(index: int, result: Finished) -> None:
            task = tasks[index]
            comparison.answers[task.custom_id, label] = _answer_of(task, label, keys[task.custom_id], result)
            self._place(contestant, monotonic() - started)
            self._stage.keep()

        def tick(tokens: int) -> None:
            done, of = len(comparison.answers_of(label)), len(comparison.prompts)
            self._stage.view.answering(label, done, of, tokens)

        try:
            answering.answer(tasks, finished, tick)
        finally:
            contestant = self._place(contestant, monotonic() - started)
        self._stage.view.finished(contestant, comparison.answers_of(label))

    def _seconds_before(self, label: str) -> float:
        """What the answers of an earlier run took that are kept."""
        if not self._comparison.answers_of(label):
            return 0.0
        return next((each.seconds for each in self._comparison.contestants if each.label == label), 0.0)

    def _supported(self, entrant: Entrant, model: LoadedModel) -> tuple[Entrant, list[Task]]:
        """The entrant with the settings that its model has, and its requests.

        Raises UsageError if no contestant has such a setting, because there is one model.
        """
        job = self._stage.job
        check_template_variables(job.defaults.template_variables, model)
        check_schema(job.defaults.json_format, model)
        asked = replace(job.defaults, effort=entrant.effort, think=entrant.think)
        if len({each.model.path for each in job.entrants}) == 1:
            supported_reasoning(asked, model, job.defaults.optional)
        known = model.dialect.reasoning_settings
        lacking = {"effort", "think", "max_reasoning_tokens"} - known - job.defaults.optional
        for name in sorted(name for name in lacking if getattr(asked, name) is not None):
            option = f"--{name.replace('_', '-')}"
            self._stage.view.remark(f"{entrant.name} has no {option}, and is compared without it.")
        entrant = entrant.supported(known)
        return entrant, job.tasks(entrant, limits_reasoning="max_reasoning_tokens" in known)

    def _place(self, contestant: Contestant, seconds: float = 0.0) -> Contestant:
        """Add a contestant, or replace what was known of it; return it with `seconds`."""
        contestant = msgspec.structs.replace(contestant, seconds=round(seconds, 3))
        contestants = self._comparison.contestants
        if contestant.label in self._comparison.labels:
            contestants[self._comparison.labels.index(contestant.label)] = contestant
        else:
            contestants.append(contestant)
        return contestant

    def _fail(self, entrants: Sequence[Entrant], error: OssctlError) -> None:
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        failed = [
            Contestant(
                label=entrant.label,
                model=entrant.model.reference,
                file=entrant.model.path.name,
                error=message,
            )
            for entrant in entrants
        ]
        for contestant in failed:
            self._place(contestant)
        self._stage.view.failed([contestant.label for contestant in failed], message)


def _keys(entrant: Entrant, tasks: Sequence[Task]) -> dict[str, str]:
    """What identifies its answers, by prompt. Raises ModelError."""
    path = entrant.model.path
    try:
        identity = blake2b(fingerprint_of(shards_of(path)), digest_size=16)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    identity.update(entrant.template.text.encode() if entrant.template else b"")
    keys = {}
    for task in tasks:
        state = identity.copy()
        state.update(task.request_key.failure + task.sampling.seed.to_bytes(8))
        keys[task.custom_id] = state.hexdigest()
    return keys


def _contestant(entrant: Entrant, model: LoadedModel, load_seconds: float) -> Contestant:
    return Contestant(
        label=entrant.label,
        model=entrant.model.reference,
        name=model.name,
        file=entrant.model.path.name,
        effort=entrant.effort or model.dialect.default_effort,
        think=entrant.think,
        template=str(entrant.template.path) if entrant.template else "",
        context=model.runner.n_ctx_seq,
        n_sequences=model.runner.n_seq,
        load_seconds=round(load_seconds, 3),
    )


def _answer_of(task: Task, label: str, key: str, result: Finished) -> Answer:
    generation, error = result.generation, result.error.message if result.error else ""
    if generation is None:
        return Answer(prompt=task.custom_id, contestant=label, key=key, seed=task.sampling.seed, error=error)
    totals = generation.totals
    return Answer(
        prompt=task.custom_id,
        contestant=label,
        key=key,
        answer=generation.content,
        reasoning=totals.reasoning_text,
        finish_reason=None if generation.error else answer_finish(generation),
        tool_calls=tuple({"name": call.name, "arguments": call.arguments} for call in generation.calls),
        tool_results=tuple(dict(each) for each in totals.tool_results),
        prompt_tokens=totals.prompt,
        cached_tokens=totals.cached,
        reasoning_tokens=totals.reasoning,
        answer_tokens=totals.completion - totals.reasoning,
        first_token_seconds=round(result.first_token_seconds, 4),
        seconds=round(result.seconds, 4),
        seed=generation.request.sampling.seed,
        error=error,
    )
