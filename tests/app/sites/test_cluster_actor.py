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
from ossctl.app.sites.cluster.actor import NodeActor
from ossctl.app.sites.cluster.node_job import NodeJob, threads_for
from ossctl.app.sites.site import Done, Ended, Failed, FromSite, Ready, SiteLine
from ossctl.app.tools.options import ToolOptions
from ossctl.build import VERSION
from ossctl.planning.workload import Purpose, Workload

_decoder: msgspec.msgpack.Decoder[FromSite] = msgspec.msgpack.Decoder(FromSite)


def node_job(reference: str) -> NodeJob:
    job = BatchOptions(Path("in.jsonl")).job()
    model = BatchModel(Path(reference), LoadOptions(ctx=512, parallel=2))
    site_job = site_job_of(job, Workload(Purpose.BATCH), model, ToolOptions())
    return NodeJob(replace(site_job, reference=reference), n_cpus=1)


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
        await actor.start(pickle.dumps(node_job("nano")))
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
        await actor.start(pickle.dumps(node_job(reference)))
        return (await said_by(actor, Failed))[-1]

    failed = asyncio.run(run("hf:org/repo:model.gguf"))
    assert isinstance(failed, Failed)
    assert failed.message == "it does not have hf:org/repo:model.gguf"


def test_an_engine_gets_the_cpus_that_ray_gives_its_actor() -> None:
    assert threads_for(n_cpus=4, wanted=None, cores=16) == 4
    assert threads_for(n_cpus=32, wanted=None, cores=16) == 16  # hyper-threads
    assert threads_for(n_cpus=0, wanted=None, cores=16) == 1  # a node with GPUs only
    assert threads_for(n_cpus=4, wanted=8, cores=16) == 8  # --threads
