"""`ossctl batch --hosts`: engines behind ssh, or a stand-in for it, that are killed, frozen or refused."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from ossctl.app.library.resolve import NANO_FILE
from tests.support.command import Live, Result, by_id, ossctl, records_in, small_model, start, write_jsonl
from tests.support.crashing_engine import crashing_engine
from tests.support.hub import Hub, Slow
from tests.support.ssh import SSHD, Hosts, ssh_server, stand_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs setsid")

needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs sshd")


@pytest.fixture(params=["stand-in", pytest.param("sshd", marks=needs_sshd)])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosts]:
    if request.param == "stand-in":
        yield stand_in(tmp_path)
    else:
        with ssh_server(tmp_path) as server:
            yield server


def requests_in(folder: Path, count: int) -> Path:
    lines = [{"custom_id": f"r{n}", "prompt": f"Count to {n}", "max_tokens": 12} for n in range(count)]
    return write_jsonl(folder / "in.jsonl", *lines)


def wait_for(happens: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answered(lines: Path, *arguments: object, saying: Sequence[str], cwd: Path, **variables: str) -> Result:
    """What becomes of a batch that has its input once all this is said: else it may end before."""
    with start("batch", "-", *arguments, cwd=cwd, **variables) as live:
        live.wait_until_said(*saying)
        live.write(lines.read_bytes())
        return live.finish()


def lines_in(output: Path) -> int:
    return output.read_bytes().count(b"\n") if output.exists() else 0


def connections_of(live: Live) -> list[psutil.Process]:
    """The driver's processes of ssh, or of its stand-in."""
    children = psutil.Process(live.process.pid).children()
    return [child for child in children if child.status() != "zombie"]


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    lines = requests_in(tmp_path, 1)
    options = ("batch", lines, "--hosts", "a", *small_model())
    done = ossctl(*options, cwd=tmp_path, OSSCTL_SSH="no-such-program")
    assert done.code == 1
    assert done.said == ["ossctl: a: cannot start no-such-program: No such file or directory"]


def test_hosts_that_cannot_be_used_are_named_and_the_others_answer(tmp_path: Path) -> None:
    hosts, lines = stand_in(tmp_path), requests_in(tmp_path, 4)
    options = ("--hosts", hosts.given("noisy", "refused", "unknown", "older"), *small_model())
    saying = (
        "refused is left out: it refuses the connection",
        "unknown is left out: its host key is not known. Log in once manually: `ssh unknown`.",
        "older is left out: it has ossctl 0.0 with llama-cpp-python 0.1",
    )
    done = answered(lines, *options, saying=saying, cwd=tmp_path, OSSCTL_SSH=hosts.ssh)
    assert done.code == 0
    assert len(by_id(done.records)) == 4
    assert "secret" not in done.stderr
    assert "Welcome" not in done.stdout + done.stderr


def test_without_any_host_there_is_an_error(tmp_path: Path) -> None:
    hosts, lines = stand_in(tmp_path), requests_in(tmp_path, 1)
    names = hosts.given("refused", "unknown")
    done = ossctl("batch", lines, "--hosts", names, *small_model(), cwd=tmp_path, OSSCTL_SSH=hosts.ssh)
    assert done.code == 1
    assert "unknown is left out: its host key is not known" in done.stderr
    assert "none of the 2 engines is left" in done.stderr


def test_hosts_pull_the_model_once_and_one_that_cannot_is_named(tmp_path: Path) -> None:
    hosts, lines = stand_in(tmp_path), requests_in(tmp_path, 8)
    other = tmp_path / "other"
    with Hub() as hub, Hub() as empty:
        hub.add("org/small", {"small.gguf": NANO_FILE.read_bytes()})
        hub.every = Slow(4_000_000)  # so that both want it at the same time
        variables = {**hub.variables, "HF_HUB_CACHE": str(tmp_path / "cache")}
        elsewhere = f"export HF_ENDPOINT={empty.url} HF_HUB_CACHE={tmp_path / 'none'}"
        other.write_text(f'#!/bin/sh\n{elsewhere}\nexec {hosts.program} "$@"\n')
        other.chmod(0o755)
        names = f"{hosts.given('one', 'two')},three:{other}"
        model = ("-m", "hf:org/small:small.gguf", *small_model()[2:])
        saying = (
            "one: pulls hf:org/small:small.gguf, 0.0 GB",
            f"three is left out: {empty.url} has no public repository org/small. ",
        )
        options = ("--hosts", names, *model, "--pull")
        variables["OSSCTL_SSH"] = hosts.ssh
        done = answered(lines, *options, saying=saying, cwd=tmp_path, **variables)
    assert done.code == 0, done.stderr
    assert len(by_id(done.records)) == 8
    assert len(hub.served) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--hosts", "a"], "--hosts needs a model"),
        (["--pull"], "--pull needs --hosts or --cluster"),
        (["--hosts", "a", "--engines", "2", "-m", "20b"], "--engines and --hosts cannot be combined"),
        (["--hosts", "a", "-m", "2ob"], "no model is called 2ob"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, arguments: list[str], problem: str) -> None:
    done = ossctl("batch", requests_in(tmp_path, 1), *arguments, cwd=tmp_path)
    assert done.code in (2, 4)
    assert problem in done.stderr


@pytest.mark.slow
@needs_sshd
def test_a_real_server_refuses_and_answers(tmp_path: Path) -> None:
    lines = requests_in(tmp_path, 12)
    with ssh_server(tmp_path) as hosts:
        names = f"{hosts.given('one', 'two', 'stranger', 'denied')},localhost,three,four:/none/ossctl"
        saying = (
            "stranger is left out: its host key is not known. ",
            "denied is left out: it refuses the login. ",
            "four is left out: it has no program /none/ossctl. ",
        )
        options = ("--hosts", names, *small_model(), "--report", "report.json")
        done = answered(lines, *options, saying=saying, cwd=tmp_path, OSSCTL_SSH=hosts.ssh)
    assert done.code == 0
    assert len(by_id(done.records)) == 12


@pytest.mark.slow
def test_every_line_is_answered_once_whatever_dies(tmp_path: Path, hosts: Hosts) -> None:
    lines, output = requests_in(tmp_path, 500), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, "--hosts", hosts.given("one", "two"), *small_model())
    randomly, kills, n_bytes = random.Random(1), 0, 0

    def has_progressed() -> bool:  # a host that only dies is left out
        size = output.stat().st_size if output.exists() else 0
        return live.process.poll() is not None or size > n_bytes

    with start(*options, "--no-cache", cwd=tmp_path, OSSCTL_SSH=hosts.ssh) as live:
        while live.process.poll() is None and kills < 12:
            wait_for(has_progressed, 120)
            time.sleep(randomly.uniform(0, 2))
            victims = [*hosts.engines(), *connections_of(live)]
            if victims:
                n_bytes = output.stat().st_size
                randomly.choice(victims).kill()
                kills += 1
        _, stderr = live.process.communicate(timeout=240)
    assert live.process.returncode == 0, stderr.decode()
    records = by_id(records_in(output.read_text()))
    assert len(records) == 500
    assert all(record["error"] is None for record in records.values())
    assert kills >= 8
    wait_for(lambda: not hosts.engines(), 2)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["ASSERT", "VANISH"])
@pytest.mark.parametrize("kind", ["stand-in", pytest.param("sshd", marks=needs_sshd)])
def test_a_line_that_ends_its_engine_is_an_error_record(tmp_path: Path, kind: str, word: str) -> None:
    prompts = [f"Count to {word if n == 5 else n}" for n in range(20)]
    requests = [{"id": f"r{n}", "prompt": text, "max_tokens": 12} for n, text in enumerate(prompts)]
    lines = write_jsonl(tmp_path / "in.jsonl", *requests)
    crash = {"PYTHONPATH": crashing_engine(tmp_path / "site")}
    stood_in = kind == "stand-in"
    with nullcontext(stand_in(tmp_path, **crash)) if stood_in else ssh_server(tmp_path, **crash) as hosts:
        options = ("batch", lines, "--hosts", hosts.given("one", "two"), *small_model(), "--no-cache")
        done = ossctl(*options, cwd=tmp_path, OSSCTL_SSH=hosts.ssh)
    assert done.code == 3, done.stderr
    records = by_id(done.records)
    assert len(records) == 20
    assert [name for name, record in records.items() if record["error"]] == ["r5"]
    cause = "killed by SIGKILL" if word == "VANISH" else "GGML_ASSERT(0) failed"
    assert records["r5"]["error"]["code"] == "engine_crashed"
    assert records["r5"]["error"]["message"].endswith(cause)


@pytest.mark.slow
def test_no_line_is_blamed_for_connections(tmp_path: Path, hosts: Hosts) -> None:
    endless = {"id": "long", "prompt": "Count", "max_tokens": 450, "ignore_eos": True}
    options = ("batch", write_jsonl(tmp_path / "in.jsonl", endless), "--hosts", hosts.given("one"))
    with start(*options, *small_model(), "--no-cache", cwd=tmp_path, OSSCTL_SSH=hosts.ssh) as live:
        for _ in range(2):
            wait_for(lambda: hosts.engines() and sum(hosts.engines()[0].cpu_times()[:2]) > 3)
            at_host = [each for each in hosts.engines()[0].parents() if "sshd" in each.name()]
            victim = (at_host or connections_of(live))[0]
            victim.kill()
            wait_for(lambda: not hosts.engines(), 5)
        done = live.finish()
    assert done.code == 0, done.stderr
    assert done.stderr.count("one died (the connection was lost") == 2
    assert [record["error"] for record in done.records] == [None]


@pytest.mark.slow
def test_a_host_that_is_lost_again_and_again_is_left_out(tmp_path: Path) -> None:
    hosts, lines, output = stand_in(tmp_path), requests_in(tmp_path, 100), tmp_path / "out.jsonl"
    impatient = "import sys\nif sys.orig_argv[-1] != 'site':\n    import ossctl.app.sites.hosts as hosts\n"
    (tmp_path / "sitecustomize.py").write_text(f"{impatient}    hosts._PAUSES = 0.0, 0.0\n")
    options = ("batch", lines, "-o", output, "--hosts", hosts.given("flaky"), *small_model(), "--no-cache")
    with start(*options, cwd=tmp_path, OSSCTL_SSH=hosts.ssh, PYTHONPATH=str(tmp_path)) as live:
        wait_for(lambda: lines_in(output) > 5)
        connections_of(live)[0].kill()
        done = live.finish()
    assert done.code == 1
    assert done.said[-2] == "ossctl: flaky: it died 10 times without an answer: the connection was lost"
    assert done.said[-1].endswith("out.jsonl; use --resume to continue.")
    kept = by_id(records_in(output.read_text()))
    assert 5 < len(kept) < 100
    assert all(record["error"] is None for record in kept.values())
    (tmp_path / "sshflaky").unlink()
    assert ossctl(*options, "--resume", cwd=tmp_path, OSSCTL_SSH=hosts.ssh).code == 0
    assert len(by_id(records_in(output.read_text()))) == 100


@pytest.mark.slow
def test_no_line_is_blamed_for_a_driver_that_was_stopped(tmp_path: Path) -> None:
    hosts, lines = stand_in(tmp_path), requests_in(tmp_path, 200)
    options = ("batch", lines, "--hosts", hosts.given("one"), *small_model(), "--no-cache", "-o", "out.jsonl")
    with start(*options, cwd=tmp_path, OSSCTL_SSH=hosts.ssh) as live:
        wait_for(lambda: lines_in(tmp_path / "out.jsonl") > 5)
        live.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: not hosts.engines(), 20)
        live.process.send_signal(signal.SIGCONT)
        done = live.finish()
    assert done.code == 0, done.stderr
    assert "one died (it received nothing from this machine for 9 s); restarting." in done.stderr


@pytest.mark.slow
def test_an_engine_that_is_killed_answers_again_within_seconds(tmp_path: Path, hosts: Hosts) -> None:
    lines, output = requests_in(tmp_path, 200), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, "--hosts", hosts.given("one"), *small_model(), "--no-cache")
    with start(*options, cwd=tmp_path, OSSCTL_SSH=hosts.ssh) as live:
        wait_for(lambda: lines_in(output) > 5)
        hosts.engines()[0].kill()
        answered = lines_in(output)
        wait_for(lambda: lines_in(output) > answered + 1, 10)
        live.process.send_signal(signal.SIGINT)
        result = live.finish()
    assert "one died (" in result.stderr


@pytest.mark.slow
def test_a_frozen_engine_is_replaced_and_ends(tmp_path: Path, hosts: Hosts) -> None:
    lines, output = requests_in(tmp_path, 200), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, "--hosts", hosts.given("one"), *small_model(), "--no-cache")
    with start(*options, cwd=tmp_path, OSSCTL_SSH=hosts.ssh) as live:
        wait_for(lambda: lines_in(output) > 5)
        (engine,) = hosts.engines()
        engine.suspend()
        wait_for(lambda: [*set(hosts.engines()) - {engine}], 25)
        engine.resume()
        wait_for(lambda: engine not in hosts.engines(), 12)
        live.process.send_signal(signal.SIGINT)
        result = live.finish()
    assert "one died (it stopped responding)" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_everything_ends_with_its_driver(tmp_path: Path, hosts: Hosts, signum: int) -> None:
    lines, output = requests_in(tmp_path, 300), tmp_path / "out.jsonl"
    options = ("batch", lines, "-o", output, "--hosts", hosts.given("one", "two"), *small_model())
    with start(*options, "--no-cache", cwd=tmp_path, OSSCTL_SSH=hosts.ssh) as live:
        wait_for(lambda: lines_in(output) > 5)
        ssh = connections_of(live)
        os.kill(live.process.pid, signum)
        live.process.wait(2)
        wait_for(lambda: not hosts.engines(), 2)
        wait_for(lambda: not any(each.is_running() for each in ssh), 2)
    done = ossctl(*options, "--no-cache", "--resume", "--limit", "30", cwd=tmp_path, OSSCTL_SSH=hosts.ssh)
    assert done.code == 0
    by_id(records_in(output.read_text()))
