"""What `ossctl compare` is asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ossctl.app.compare.contestants import Entrant
from ossctl.app.compare.prompts import PromptLines, prompt_of
from ossctl.app.compare.results import SCHEMA, Comparison, Head
from ossctl.app.compare.resume import take_over
from ossctl.app.compare.store import Outputs
from ossctl.app.inference.defaults import Defaults
from ossctl.app.library.references import Given
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.toolbox import Toolbox
from ossctl.app.wire.chat_completions import Task


@dataclass(frozen=True)
class CompareJob:
    """Who answers what, and where it is written."""

    entrants: Sequence[Entrant]
    prompts: PromptLines
    defaults: Defaults
    loading: LoadOptions
    tools: Toolbox = field(default_factory=Toolbox)
    judge: Given | None = None
    outputs: Outputs = field(default_factory=Outputs)

    def tasks(self, entrant: Entrant, *, limits_reasoning: bool = True) -> list[Task]:
        """The requests for one contestant, with the same seeds as for others. Raises UsageError."""
        limit = self.defaults.max_reasoning_tokens if limits_reasoning else None
        return self.prompts.tasks(
            replace(self.defaults, effort=entrant.effort, think=entrant.think, max_reasoning_tokens=limit)
        )

    def start(self) -> Comparison:
        """The comparison before the first answer, with what its file has. Raises UsageError."""
        sampling = self.defaults.sampling
        head = Head(
            schema=SCHEMA,
            seed=sampling.seed,
            temperature=sampling.temperature,
            max_tokens=self.defaults.max_tokens,
            system=self.defaults.system,
            judge=self.judge.name if self.judge else "",
        )
        comparison = Comparison(head, [*map(prompt_of, self.tasks(self.entrants[0]))])
        labels = {label for entrant in self.entrants for label in entrant.possible_labels}
        take_over(comparison, self.outputs.earlier(), labels, str(self.outputs.kept))
        return comparison
