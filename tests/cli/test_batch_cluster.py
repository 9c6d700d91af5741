"""`ossctl batch --cluster` on nodes of a real Ray cluster, which are killed, frozen or without a head."""

import importlib.util
import json
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from ossctl.app.library.resolve import NANO_FILE
from tests.support.command import Live, by_id, ossctl, records_in, start, write_jsonl
from tests.support.hollow_models import hollow
from tests.support.hub import Hub, Slow
from tests.support.ray_cluster import RayCluster, RayNode, ray_cluster

NANO = ("-m", "nano", "--threads", 1, "--ctx", 512, "--parallel", 8, "--no-cache")
UNENDING = {"ignore_eos": True}  # so that a run lasts
N_KILLS = 20


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    lines = requests_in(tmp_path, 1)
    for options, message in (
        (("--pull",), "--pull needs --hosts or --cluster"),
        (("--cluster", "auto", "--isolate"), "--isolate and --cluster cannot be combined"),
        (("--cluster", "auto", "--engines", 2), "--engines and --cluster cannot be combined"),
        (("--cluster", "auto"), "--cluster needs a model"),
    ):
        done = ossctl("batch", lines, *options, cwd=tmp_path)
        assert done.code == 2
        assert message in done.stderr


pytest_ray = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]


def requests_in(folder: Path, count: int) -> Path:
    lines = [{"custom_id": f"r{n}", "prompt": f"What is {n} plus 7?", "max_tokens": 30} for n in range(count)]
    return write_jsonl(folder / "in.jsonl", *lines)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head and a second node."""
    with ray_cluster() as found:
        found.add()
        yield found


def wait_for(output: Path, n_records: int) -> None:
    deadline = time.monotonic() + 60
    while not output.exists() or output.read_bytes().count(b"\n") < n_records:
        assert time.monotonic() < deadline, "nothing was answered"
        time.sleep(0.02)


def all_actors(cluster: RayCluster) -> list[psutil.Process]:
    return [actor for node in cluster.nodes for actor in node.actors()]


def has_no_actors(cluster: RayCluster, seconds: float = 2) -> bool:
    """Whether all engines end in time."""
    deadline = time.monotonic() + seconds
    while all_actors(cluster) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not all_actors(cluster)


@contextmanager
def headless_batch(folder: Path, n_more: int = 0) -> Iterator[tuple[Live, RayCluster]]:
    """A batch on a cluster, writing out.jsonl, whose head has died after five answers."""
    lines, output = requests_in(folder, 20_000), folder / "out.jsonl"
    with ray_cluster() as own:
        for _ in range(n_more):
            own.add()
        with start("batch", lines, "-o", output, *NANO, "--cluster", own.address, cwd=folder) as live:
            wait_for(output, 5)
            while not all(node.actors() for node in own.nodes):
                time.sleep(0.1)
            own.head.part("gcs_server").kill()
            yield live, own


class TestRay:
    pytestmark = pytest_ray

    def test_nodes_divide_the_lines_and_stdout_has_records_only(
        self, cluster: RayCluster, tmp_path: Path
    ) -> None:
        lines = requests_in(tmp_path, 200)
        options = ("batch", lines, *NANO, "--report", "report.json")
        done = ossctl(*options, "--cluster", cluster.address, cwd=tmp_path)
        assert done.code == 0, done.stderr
        sites = json.loads((tmp_path / "report.json").read_text())["sites"]
        assert len(sites) == 2
        assert all(site["lines"] > 20 and not site["deaths"] for site in sites)
        here = ossctl(*options, "--overwrite", "-o", "here.jsonl", cwd=tmp_path)
        assert here.code == 0
        ids = {record["id"] for record in records_in((tmp_path / "here.jsonl").read_text())}
        assert {record["id"] for record in done.records} == ids

    def test_every_line_is_answered_once_whatever_dies(self, cluster: RayCluster, tmp_path: Path) -> None:
        slow = [{"id": f"r{n}", "prompt": f"Count to {n}", "max_tokens": 60, **UNENDING} for n in range(500)]
        lines, output = write_jsonl(tmp_path / "in.jsonl", *slow), tmp_path / "out.jsonl"
        options = ("batch", lines, "-o", output, *NANO, "--cluster", cluster.address)
        randomly, kills = random.Random(1), 0
        resume: tuple[str, ...] = ()
        while kills < N_KILLS:
            with start(*options, *resume, cwd=tmp_path) as live:
                wait_for(output, 1)
                while live.process.poll() is None and kills < N_KILLS:
                    time.sleep(randomly.uniform(1, 3))
                    kills += disturb(cluster, randomly)
                    if randomly.random() < 0.1:
                        break  # which kills the driver
            resume = ("--resume",)
        done = ossctl(*options, "--resume", cwd=tmp_path)
        assert done.code in (0, 3), done.stderr
        records = by_id(records_in(output.read_text()))
        assert len(records) == 500
        codes = {record["error"]["code"] for record in records.values() if record["error"]}
        assert codes <= {"engine_crashed"}  # of a line that was alone at an engine, twice

    def test_a_frozen_node_is_replaced(self, cluster: RayCluster, tmp_path: Path) -> None:
        lines, output = requests_in(tmp_path, 1200), tmp_path / "out.jsonl"
        with start("batch", lines, "-o", output, *NANO, "--cluster", cluster.address, cwd=tmp_path) as live:
            wait_for(output, 5)
            actor = cluster.head.actors()[0]
            actor.suspend()
            done = live.finish()
        assert done.code == 0
        assert "died (it stopped responding)" in done.stderr
        assert len(by_id(records_in(output.read_text()))) == 1200
        assert has_no_actors(cluster)

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_driver_and_engines(
        self, cluster: RayCluster, tmp_path: Path, signum: signal.Signals
    ) -> None:
        lines, output = requests_in(tmp_path, 2000), tmp_path / "out.jsonl"
        with start("batch", lines, "-o", output, *NANO, "--cluster", cluster.address, cwd=tmp_path) as live:
            wait_for(output, 5)
            live.process.send_signal(signum)
            assert live.process.wait(2) == 128 + signum
        assert has_no_actors(cluster)

    def test_engines_end_with_a_killed_driver(self, cluster: RayCluster, tmp_path: Path) -> None:
        lines, output = requests_in(tmp_path, 2000), tmp_path / "out.jsonl"
        with start("batch", lines, "-o", output, *NANO, "--cluster", cluster.address, cwd=tmp_path) as live:
            wait_for(output, 5)
            live.process.kill()
        assert has_no_actors(cluster)

    def test_a_path_that_no_node_has_is_an_error(self, cluster: RayCluster, tmp_path: Path) -> None:
        lines = requests_in(tmp_path, 1)
        options = ("-m", tmp_path / "missing.gguf", "--cluster", cluster.address)
        done = ossctl("batch", lines, *options, cwd=tmp_path)
        assert done.code == 4
        assert "is left out:" in done.stderr
        assert "missing.gguf" in done.said[-1] or "missing.gguf" in done.said[-2]

    def test_a_node_with_too_little_memory_says_so(self, cluster: RayCluster, tmp_path: Path) -> None:
        lines = requests_in(tmp_path, 1)
        template = tmp_path / "template.jinja"
        template.write_text("{% for message in messages %}{{ message.content }}{% endfor %}", "utf-8")
        model = ("-m", hollow(tmp_path / "large.gguf", "deepseek-r1"), "--template", template)
        done = ossctl("batch", lines, *model, "--cluster", cluster.address, cwd=tmp_path)
        assert done.code == 5, done.stderr

    def test_a_node_that_joins_gets_lines(self, tmp_path: Path) -> None:
        lines, output = requests_in(tmp_path, 1500), tmp_path / "out.jsonl"
        options = ("batch", lines, "-o", output, *NANO, "--report", tmp_path / "report.json")
        with ray_cluster() as own, start(*options, "--cluster", own.address, cwd=tmp_path) as live:
            wait_for(output, 5)
            own.add()
            done = live.finish()
        assert done.code == 0
        assert "has joined the cluster" in done.stderr
        sites = json.loads((tmp_path / "report.json").read_text())["sites"]
        assert len(sites) == 2
        assert all(site["lines"] for site in sites)

    def test_nodes_that_differ_are_left_out_by_name(self, tmp_path: Path) -> None:
        folder = tmp_path / "other"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text("import ossctl\nossctl.__version__ = '0.0.9'\n")
        lines = requests_in(tmp_path, 20)
        with ray_cluster() as own:
            own.add(PYTHONPATH=str(folder))
            done = ossctl("batch", lines, *NANO, "--cluster", own.address, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert len(by_id(done.records)) == 20
        assert "is left out: it has ossctl 0.0.9 with llama-cpp-python" in done.stderr

    def test_nodes_look_in_their_own_caches(self, tmp_path: Path) -> None:
        full, empty = tmp_path / "full", tmp_path / "empty"
        empty.mkdir()
        repository = full / "models--org--small"
        (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots" / ("0" * 40) / "small.gguf").symlink_to(NANO_FILE)
        lines = requests_in(tmp_path, 20)
        with ray_cluster(HF_HUB_CACHE=str(full)) as own:
            own.add(HF_HUB_CACHE=str(empty))
            model = ("-m", "hf:org/small:small.gguf", *NANO[2:])
            done = ossctl("batch", lines, *model, "--cluster", own.address, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert len(by_id(done.records)) == 20
        assert (
            "is left out: it does not have hf:org/small:small.gguf. Add --pull to download it there."
            in done.stderr
        )

    def test_nodes_pull_the_model_once_and_one_that_cannot_is_named(self, tmp_path: Path) -> None:
        lines = requests_in(tmp_path, 40)
        with Hub() as hub, Hub() as empty:
            hub.add("org/small", {"small.gguf": NANO_FILE.read_bytes()})
            hub.every = Slow(2_000_000)  # so that both want it at the same time
            shared = {**hub.variables, "HF_HUB_CACHE": str(tmp_path / "cache")}
            none = {**empty.variables, "HF_HUB_CACHE": str(tmp_path / "none")}
            with ray_cluster(**shared) as own:
                own.add(**shared)
                own.add(**none)
                model = ("-m", "hf:org/small:small.gguf", *NANO[2:], "--pull")
                done = ossctl("batch", lines, *model, "--cluster", own.address, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert len(by_id(done.records)) == 40
        assert len(hub.served) == 1
        assert ": pulls hf:org/small:small.gguf, 0.0 GB" in done.stderr
        assert f"is left out: {empty.url} has no public repository org/small. " in done.stderr

    def test_the_end_of_the_head_is_said_and_the_output_can_be_resumed(self, tmp_path: Path) -> None:
        with headless_batch(tmp_path) as (live, _):
            _, stderr = live.process.communicate(timeout=100)
        said = stderr.decode()
        assert live.process.returncode == 1
        assert "The head node of the Ray cluster does not respond" in said
        assert "the head node of the Ray cluster is gone" in said
        assert "use --resume to continue" in said
        assert by_id(records_in((tmp_path / "out.jsonl").read_text()))

    def test_ctrl_c_ends_a_batch_that_has_no_head_and_no_engine(self, tmp_path: Path) -> None:
        with headless_batch(tmp_path) as (live, _):
            time.sleep(5)  # the call for a new engine hangs
            live.process.send_signal(signal.SIGINT)
            assert live.process.wait(4) == 130

    def test_ctrl_c_without_a_head_ends_the_engines_of_other_nodes(self, tmp_path: Path) -> None:
        with headless_batch(tmp_path, n_more=1) as (live, own):
            time.sleep(5)
            assert own.nodes[1].actors()
            live.process.send_signal(signal.SIGINT)
            assert live.process.wait(4) == 130
            assert has_no_actors(own)

    def test_another_version_of_ray_is_one_line(self, cluster: RayCluster, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.59.0'\n")
        lines = requests_in(tmp_path, 1)
        options = ("batch", lines, "-m", "nano", "--cluster", cluster.address)
        done = ossctl(*options, cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert done.code == 2
        assert f"cannot join the Ray cluster at {cluster.address}: Version mismatch" in done.stderr
        assert len(done.said) == 2

    def test_an_address_that_accepts_but_does_not_answer(self, tmp_path: Path) -> None:
        lines = requests_in(tmp_path, 1)
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            started = time.monotonic()
            done = ossctl("batch", lines, "-m", "nano", "--cluster", address, cwd=tmp_path)
        assert done.code == 1
        assert f"the Ray cluster at {address} did not answer within 30 s" in done.stderr
        assert time.monotonic() - started < 45


def disturb(cluster: RayCluster, randomly: random.Random) -> int:
    """Kill or freeze an engine, or a node that is then replaced; the number of what was done."""
    kind = randomly.choice(("actor", "actor", "actor", "raylet", "freeze"))
    if kind == "raylet":
        victim = cluster.nodes[-1]
        victim.part("raylet").kill()
        time.sleep(1)
        replace_last(cluster)
        return 1
    with suppress(psutil.NoSuchProcess, IndexError):
        actor = randomly.choice(all_actors(cluster))
        actor.suspend() if kind == "freeze" else actor.kill()
        return 1
    return 0


def replace_last(cluster: RayCluster) -> RayNode:
    cluster.nodes.pop().close()
    return cluster.add()
