"""The actor of a node with a real engine, called as Ray calls it: on one event loop."""

import asyncio
import pickle
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ossctl import __version__
from ossctl.app.batch.options import BatchOptions
from ossctl.app.batch.run import BatchModel
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.sites.answerer import site_job_of
from ossctl.app.sites.cluster.actor import NodeActor, on_cpus
from ossctl.app.sites.site import Done, Ended, Failed, FromSite, Ready, SiteJob, SiteLine
from ossctl.app.tools.options import ToolOptions
from ossctl.build import VERSION
from ossctl.planning.workload import Purpose, Workload

_decoder: msgspec.msgpack.Decoder[FromSite] = msgspec.msgpack.Decoder(FromSite)


def job_for(reference: str, threads: int | None = None) -> SiteJob:
    job = BatchOptions(Path("in.jsonl")).job()
    model = BatchModel(Path(reference), LoadOptions(ctx=512, parallel=2, threads=threads))
    site_job = site_job_of(job, Workload(Purpose.BATCH), model, ToolOptions())
    return replace(site_job, reference=reference)


async def said_by(actor: NodeActor, last: type[FromSite]) -> list[FromSite]:
    """What an actor says until an event of the kind `last`."""
    events: list[FromSite] = []
    while not any(isinstance(event, last) for event in events):
        events += map(_decoder.decode, await actor.collect())
    return events


def test_an_actor_answers_lines_and_ends() -> None:
    async def run() -> list[FromSite]:
        actor = NodeActor()
        assert await actor.hello() == (__version__, VERSION)
        await actor.start(pickle.dumps(job_for("nano")), 1)
        ready = await said_by(actor, Ready)
        lines = [
            SiteLine(7, 1, b'{"id": "a", "prompt": "Hi", "max_tokens": 2}'),
            SiteLine(8, 2, b'{"id": "b"}'),
        ]
        await actor.submit(msgspec.msgpack.encode(lines))
        await actor.finish()
        return ready + await said_by(actor, Ended)

    events = asyncio.run(run())
    (ready,) = (event for event in events if isinstance(event, Ready))
    assert (ready.n_seq, ready.n_ctx) == (2, 512)
    done = {event.index: event for event in events if isinstance(event, Done)}
    assert sorted(done) == [7, 8]
    assert msgspec.json.decode(done[7].record)["custom_id"] == "a"
    assert done[8].counts.error is not None


def test_a_node_without_the_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    async def run(reference: str) -> FromSite:
        actor = NodeActor()
        await actor.start(pickle.dumps(job_for(reference)), 1)
        return (await said_by(actor, Failed))[-1]

    failed = asyncio.run(run("hf:org/repo:model.gguf"))
    assert isinstance(failed, Failed)
    assert failed.message == "it does not have hf:org/repo:model.gguf"


@pytest.mark.parametrize(
    ("n_cpus", "wanted", "threads"),
    [
        (4, None, 4),
        (32, None, 16),  # hyper-threads
        (0, None, 1),  # a node with GPUs only
        (4, 8, 8),  # --threads
    ],
)
def test_an_engine_gets_the_cpus_that_ray_gives_its_actor(
    n_cpus: float, wanted: int | None, threads: int
) -> None:
    assert on_cpus(job_for("nano", wanted), n_cpus, cores=16).model.options.threads == threads
