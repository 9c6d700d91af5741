"""Has a batch answered by the nodes of a Ray cluster."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.run import AnsweredBy, Answerer, BatchModel
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.answerer import answerer_of, site_job_of
from ossctl.app.sites.cluster.connection import connected
from ossctl.app.sites.cluster.fleet import ClusterFleet
from ossctl.app.sites.find_model import reference_elsewhere
from ossctl.app.tools.options import ToolOptions
from ossctl.planning.workload import Workload


@dataclass(frozen=True)
class Cluster:
    """The cluster at `address`; with `pull`, its nodes fetch the model if they do not have it."""

    address: str
    pull: bool = False


@contextmanager
def answered_by_cluster(
    cluster: Cluster, model: str, tools: ToolOptions, say: Callable[[str], None]
) -> Iterator[AnsweredBy]:
    """Connect to a cluster, and yield what `run_batch` takes to have it answer. Raises as `connected` does.

    `model` is a name, which each node looks up for itself, or a path that all share.
    """
    reference = reference_elsewhere(model)
    with connected(cluster.address) as ray:

        @contextmanager
        def answerer(
            job: BatchJob, workload: Workload, model: BatchModel, interrupt: Interrupt
        ) -> Iterator[Answerer]:
            site_job = site_job_of(job, workload, model, tools)
            site_job = replace(site_job, reference=reference, may_pull=cluster.pull)
            fleet = ClusterFleet(ray, site_job, say, job.sink.crash_hint)
            with closing(fleet):
                yield answerer_of(job, fleet, fleet.start(interrupt), elsewhere=True)

        yield answerer
