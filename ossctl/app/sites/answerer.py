"""Has a batch answered by sites instead of an engine in this process."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from ossctl.app.batch.job import BatchJob
from ossctl.app.batch.line_parser import EmbeddingLineParser
from ossctl.app.batch.line_runner import Codec
from ossctl.app.batch.records import ModelIdentity
from ossctl.app.batch.run import AnsweredBy, Answerer, BatchModel, records_of
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.sites.fleet import Fleet, Place
from ossctl.app.sites.runner import SiteRunner
from ossctl.app.sites.site import Ready, SiteJob
from ossctl.app.tools.options import ToolOptions
from ossctl.planning.workload import Workload

# The places for a job's sites.
Places = Callable[[SiteJob], Sequence[Place]]


def answered_by_sites(
    places: Places, tools: ToolOptions, say: Callable[[str], None], *, elsewhere: bool
) -> AnsweredBy:
    """What `run_batch` takes, to have the sites at `places` answer. `tools` are the options of the job's.

    The sites are on this machine unless they are `elsewhere`.
    """

    @contextmanager
    def answerer(
        job: BatchJob, workload: Workload, model: BatchModel, interrupt: Interrupt
    ) -> Iterator[Answerer]:
        with closing(Fleet(places(site_job_of(job, workload, model, tools)), say)) as fleet:
            yield answerer_of(job, fleet, fleet.start(interrupt), elsewhere=elsewhere)

    return answerer


def site_job_of(job: BatchJob, workload: Workload, model: BatchModel, tools: ToolOptions) -> SiteJob:
    """What a site needs of a job."""
    return SiteJob(
        replace(model, answered_by=None),
        job.parser,
        workload,
        tools,
        deterministic=job.rules.deterministic,
        flat=job.sink.flat,
        keep_input=job.sink.keep_input,
    )


def answerer_of(job: BatchJob, fleet: Fleet, ready: Ready, *, elsewhere: bool) -> Answerer:
    """What runs the job's lines through a fleet, of which the first site is `ready`."""
    defaults = replace(
        job.parser.defaults,
        effort=ready.effort,
        max_reasoning_tokens=ready.max_reasoning_tokens,
        think=ready.think,
    )
    parser = replace(job.parser, defaults=defaults, model=ready.name)
    records = records_of(job, ModelIdentity(ready.name, ready.fingerprint, _no_piece))
    codec = Codec[Any](EmbeddingLineParser(parser) if ready.embeds else parser, records)
    make = functools.partial(SiteRunner, fleet, codec, rules=job.rules)
    return Answerer(
        ready.name,
        () if fleet.names_remarks else ready.remarks,
        make,
        parser,
        ready.fingerprint,
        lambda: _devices(fleet),
        embeds=ready.embeds,
        elsewhere=elsewhere,
    )


def _devices(fleet: Fleet) -> tuple[str, ...]:
    """The devices of all sites that are ready."""
    return tuple({name for member in fleet.members if member.ready for name in member.ready.devices})


def _no_piece(token: int) -> bytes:
    raise AssertionError(f"the driver encodes no answers: {token}")
