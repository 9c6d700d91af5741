"""Several engines on this machine: one per GPU or NUMA node, or as many as the user wants."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ossctl.app.placement.machine import this_machine
from ossctl.app.placement.workers import workers
from ossctl.app.sites.fleet import Place
from ossctl.app.sites.process import ProcessSite
from ossctl.app.sites.site import SiteJob
from ossctl.errors import UsageError
from ossctl.planning.machine import Machine

AUTO = "auto"
_WORKER_PAUSES = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 30.0, 30.0)  # seconds before each try to reach workers
_NODES = Path("/sys/devices/system/node")


def engine_places(given: str | None) -> Callable[[SiteJob], Sequence[Place]]:
    """The places for `--engines`; one if it is not given. Raises UsageError."""
    if given is not None and given != AUTO and not (given.isdecimal() and int(given)):
        raise UsageError(f"--engines {given}: expected a number from 1, or auto")

    def places(job: SiteJob) -> Sequence[Place]:
        if given in {None, "1"}:
            return [_place("the engine", job)]
        if workers():
            raise UsageError(f"--engines {given}: a worker serves one engine", "Leave it out.")
        jobs = divided(job, given, this_machine(), numa_nodes())
        return [_place(f"engine {number}", each) for number, each in enumerate(jobs, 1)]

    return places


def divided(
    job: SiteJob, given: str | None, machine: Machine, nodes: Sequence[tuple[int, ...]]
) -> Sequence[SiteJob]:
    """The job of each engine. They divide the requests, and the GPUs if there are enough, or else the cores.

    Raises UsageError for more engines than cores.
    """
    gpus, options = [device.name for device in machine.devices], job.model.options
    usable = gpus if options.device is None and options.gpu_layers != 0 else []
    count = int(given) if given not in {None, AUTO} else max(1, len(usable) or len(nodes))
    threads = options.threads or machine.cores // count
    if not threads:
        raise UsageError(f"--engines {count}: there are {machine.cores} cores", "Use fewer engines.")
    requests = job.workload.requests
    workload = replace(
        job.workload, engines=count, requests=None if requests is None else -(-requests // count)
    )
    if job.deterministic:
        workload = job.workload
    own = [
        ",".join(usable[number::count]) if len(usable) >= count else options.device for number in range(count)
    ]
    by_node = given == AUTO and not usable and len(nodes) > 1
    return [
        replace(
            job,
            model=replace(job.model, options=replace(options, threads=threads, device=device)),
            workload=workload,
            cpus=nodes[number] if by_node else (),
        )
        for number, device in enumerate(own)
    ]


def numa_nodes(root: Path = _NODES) -> Sequence[tuple[int, ...]]:
    """The processors of each NUMA node that this process may use; none where that is unknown."""
    if sys.platform != "linux":
        return ()
    own = os.sched_getaffinity(0)
    lists = sorted(root.glob("node[0-9]*/cpulist"))
    nodes = [tuple(cpu for cpu in _numbers(path.read_text().strip()) if cpu in own) for path in lists]
    return [cpus for cpus in nodes if cpus]


def _numbers(text: str) -> Iterator[int]:
    """The numbers of a list as Linux writes it: `0-3,8`."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _place(name: str, job: SiteJob) -> Place:
    new_site = functools.partial(ProcessSite, job)
    return Place(name, new_site, _WORKER_PAUSES) if workers() else Place(name, new_site)
