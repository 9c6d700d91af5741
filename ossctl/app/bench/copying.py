"""What drafts gain where an answer copies its prompt."""

from collections.abc import Callable

from ossctl.app.bench.estimate import mean_of, ratio_of
from ossctl.app.bench.passes import EngineSide, Work
from ossctl.app.bench.results import Copying
from ossctl.app.bench.rounds import Effort, repeat
from ossctl.engine.drafts import DraftOptions
from ossctl.runtime.base import Runner

# Prose that no model has seen: texts that a model knows, it recites whether or not the prompt has them.
SENTENCES = (
    "The ferry to the outer islands leaves at a quarter past six, before the fog has left the harbour.",
    "Its captain has kept a wooden box beside the wheel for thirty years, and never says what is in it.",
    "On weekdays it carries mail, bread, two goats, and a teacher who reads with her back to the wind.",
    "When the lamp on the long pier is green, passengers walk aboard; when it is red, they wait in line.",
    "In March a storm took the roof of the office, and the clerk has sold tickets from a rowing boat since.",
    "The children call her the admiral, and she answers with a small brass bell that once hung in a school.",
    "People who miss the last crossing sleep above the bakery, where the ovens warm the floor all night.",
    "No guest has ever complained about that room, although bread is carried out through it at four.",
)
_LEAST = 2  # sentences


def copy_of(tokenize: Callable[[str], list[int]], most_prompt: float, n_generated: int) -> Work | None:
    """A text twice, and its first words a third time; None if `most_prompt` tokens are too few for that.

    The likeliest answer continues with the text.
    """
    for n in range(len(SENTENCES), _LEAST - 1, -1):
        text = " ".join(SENTENCES[:n])
        prompt = tokenize(f"{text}\n\n{text}\n\n{text[: len(SENTENCES[0]) // 2]}")
        if len(prompt) <= most_prompt:
            rest = len(prompt) * 2 // 5  # less than what is left of the text
            return Work(1, len(prompt), min(n_generated, rest), temperature=0, prompt=tuple(prompt))
    return None


def measure_copying(
    runner: Runner, drafts: DraftOptions, work: Work, effort: Effort, keep_going: Callable[[], bool]
) -> Copying | None:
    """The same answer without and with drafts, in turns; None if it was interrupted in the first round.

    Raises DecodeFailed, DecodeAborted.
    """
    plain, drafting = EngineSide(runner), EngineSide(runner, drafts=drafts)
    for side in (plain, drafting):
        side.run(work)  # which also shows whether drafts change logits
    drafted, accepted = drafting.stats.drafted_tokens, drafting.stats.accepted_tokens
    passes = repeat(work, {"plain": plain, "drafting": drafting}, effort, keep_going)
    if not passes["plain"]:
        return None
    speeds = {name: [each.generation.speed for each in done] for name, done in passes.items()}
    return Copying(
        prompt_tokens=work.prompt_tokens,
        generated_tokens=work.generated_tokens,
        drafted_tokens=drafting.stats.drafted_tokens - drafted,
        accepted_tokens=drafting.stats.accepted_tokens - accepted,
        plain=mean_of(speeds["plain"]),
        drafting=mean_of(speeds["drafting"]),
        ratio=ratio_of(speeds["drafting"], speeds["plain"]),
    )
