"""What contestants and judge share: the job, the comparison that they fill, and loading a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic

from ossctl.app.compare.contestants import Entrant
from ossctl.app.compare.job import CompareJob
from ossctl.app.compare.results import Comparison
from ossctl.app.compare.view import CompareView
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import LoadedModel, load_model
from ossctl.planning.workload import Workload


@dataclass(frozen=True)
class Stage:
    """A comparison in progress."""

    job: CompareJob
    comparison: Comparison
    view: CompareView
    interrupt: Interrupt

    @contextmanager
    def loaded(self, label: str, entrant: Entrant, workload: Workload) -> Iterator[tuple[LoadedModel, float]]:
        """The model of an entrant, and the seconds of its loading. Raises as `load_model` does."""
        self.view.loading(label)
        started = monotonic()
        options = replace(self.job.loading, template=entrant.template)
        with load_model(entrant.model.path, options, workload, self.interrupt) as model:
            for remark in model.remarks:
                self.view.remark(f"{label}: {remark}")
            yield model, monotonic() - started

    def save(self) -> None:
        """Write all outputs. Raises NotWritten."""
        self.job.outputs.write(self.comparison)

    def keep(self, *, now: bool = False) -> None:
        """Write the file that keeps everything, `now` or now and then. Raises NotWritten."""
        self.job.outputs.keep(self.comparison, now=now)
