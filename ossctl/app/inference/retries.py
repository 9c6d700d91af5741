"""Another attempt at an answer that does not fit its schema."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ossctl.app.inference.generation import Generation
from ossctl.app.inference.request import GenerationSpec
from ossctl.app.inference.schema_check import misfit_of

if TYPE_CHECKING:
    from ossctl.app.inference.loading import LoadedModel


def retry_of(
    model: "LoadedModel", spec: GenerationSpec, generation: Generation, step: int = 1
) -> Generation | None:
    """The generation to submit in place of a finished one; None if that fits or no attempt is left.

    Its seed is larger by `step`, the number of answers with consecutive seeds. At temperature 0 another
    attempt would give the same answer.
    """
    request = generation.request
    if generation.error or generation.attempts > spec.schema_retries or not request.sampling.temperature:
        return None
    timeout = None if request.timeout is None else request.timeout - generation.seconds
    if (timeout is not None and timeout <= 0) or misfit_of(spec.conversation, generation) is None:
        return None
    prompt = request.prompt.tolist()
    request = replace(
        request,
        sampling=request.sampling.with_later_seed(step),
        guide=model.dialect.guide(spec.conversation, prompt),
        timeout=timeout,
    )
    return generation.again(request, model.dialect.parser(prompt, spec.conversation), spec.stops)
