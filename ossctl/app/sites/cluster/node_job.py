"""A site's job on a node, which has as many cores as Ray gives it."""

from dataclasses import dataclass, replace

from ossctl.app.sites.site import SiteJob
from ossctl.runtime.host import physical_cores


@dataclass(frozen=True)
class NodeJob:
    """A site's job. `n_cpus` are what Ray gives the actor."""

    job: SiteJob
    n_cpus: float

    def on_this_node(self) -> SiteJob:
        """The site's job with this node's threads."""
        model = self.job.model
        threads = threads_for(self.n_cpus, model.options.threads, physical_cores())
        return replace(self.job, model=replace(model, options=replace(model.options, threads=threads)))


def threads_for(n_cpus: float, wanted: int | None, cores: int) -> int:
    """Threads of an engine to which Ray gives `n_cpus`: ggml takes no heed of OMP_NUM_THREADS, nor of Ray."""
    return wanted or max(1, min(cores, int(n_cpus)))
