"""Turns the options of `ossctl compare` into a job."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, get_args

from ossctl.app.compare.contestants import Settings, entrants_of
from ossctl.app.compare.job import CompareJob
from ossctl.app.compare.prompts import PromptLines, read_prompts
from ossctl.app.compare.store import Outputs
from ossctl.app.inference.options import GenerationOptions, several
from ossctl.app.inference.template_options import read_template
from ossctl.app.library.references import Given, refuse_think
from ossctl.app.local_date import local_date
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.options import ToolOptions
from ossctl.dialect import Effort, Think


@dataclass(frozen=True)
class CompareOptions:
    """The options of the command line. Efforts and switches of the reasoning are separated by commas."""

    words: Sequence[str] = ()
    file: Path | None = None
    efforts: str = ""
    thinks: str = ""
    templates: Sequence[str] = ()
    outputs: Outputs = field(default_factory=Outputs)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    tools: ToolOptions = field(default_factory=ToolOptions)

    def settings(self) -> Settings:
        """The settings to combine with each model. Raises UsageError."""
        templates = [read_template(Path(file)) if file else None for file in self.templates]
        thinks = [
            None if each == "auto" else each for each in several(self.thinks, "--think", "on", "off", "auto")
        ]
        return Settings(
            templates or (None,),
            [cast("Effort", each) for each in several(self.efforts, "--effort", *get_args(Effort))]
            or (None,),
            [cast("Think | None", each) for each in thinks] or (None,),
        )

    def prompts(self) -> PromptLines:
        """Raises UsageError."""
        return read_prompts(self.words, self.file)

    def job(
        self,
        models: Sequence[Given],
        judge: Given | None,
        prompts: PromptLines,
        loading: LoadOptions,
    ) -> CompareJob:
        """Raises UsageError for options that contradict each other or are invalid."""
        settings = self.settings()
        is_standing = "think" in self.generation.from_environment
        if any(settings.thinks) and not any(settings.templates) and not is_standing:
            refuse_think(models)
        toolbox = self.tools.toolbox()
        defaults = replace(self.generation.defaults(), today=local_date(), tools=toolbox.offered)
        return CompareJob(
            entrants_of(models, settings), prompts, defaults, loading, toolbox, judge, self.outputs
        )
