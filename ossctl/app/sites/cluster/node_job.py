"""A site's job on a node, which has its own file of the model, its own cores and its own memory."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from ossctl.app.library.pull import plan_pull
from ossctl.app.library.resolve import NotPulled, choose, open_records
from ossctl.app.sites.site import SiteJob
from ossctl.errors import ModelError
from ossctl.hub.store import ModelPull
from ossctl.runtime.host import physical_cores

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeJob:
    """A site's job, and how a node finds the model: `reference` is a name, or a path that all nodes share.

    With `pull`, a node that does not have it fetches it. `n_cpus` are what Ray gives the actor.
    """

    job: SiteJob
    reference: str
    n_cpus: float
    pull: bool = False

    def on_this_node(self) -> SiteJob:
        """The site's job with this node's file and threads. Raises OssctlError."""
        model = self.job.model
        threads = threads_for(self.n_cpus, model.options.threads, physical_cores())
        options = replace(model.options, threads=threads)
        try:
            path = choose(self.reference, options).path
        except NotPulled as error:
            if not self.pull:
                raise
            path = _pull(error.reference)
        return replace(self.job, model=replace(model, path=path, options=options))


def threads_for(n_cpus: float, wanted: int | None, cores: int) -> int:
    """Threads of an engine to which Ray gives `n_cpus`: ggml takes no heed of OMP_NUM_THREADS, nor of Ray."""
    return wanted or max(1, min(cores, int(n_cpus)))


def _pull(reference: str) -> Path:
    """Fetch a model that fits here. Several actors of one machine wait for each other. Raises OssctlError."""
    plan = plan_pull(reference, _log.info)
    if plan.shortage is not None:
        raise plan.shortage.error
    if not plan.fits_on_disk:
        free, needed = plan.free / 1e9, plan.to_fetch / 1e9
        raise ModelError(f"{plan.cache} has {free:,.1f} GB free, but {reference} needs {needed:,.1f} GB")
    return ModelPull(plan.model, open_records(), lambda _: None, _log.info).run().first
