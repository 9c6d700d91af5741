"""`ossctl pull` as its users run it, against a hub on this machine."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ossctl.hub.catalogue import catalogue
from tests.support.command import Process, Result, environment, launch, ossctl
from tests.support.hub import Cut, Flip, Hub, Slow, Stall, Status, sha256
from tests.support.models import enormous, smollm2

REPO = "org/model-GGUF"
REFERENCE = f"hf:{REPO}"
DATA = random.Random(0).randbytes(3_000_000)
PARTS = {f"m-0000{n}-of-00002.gguf": random.Random(n).randbytes(1_000_000) for n in (1, 2)}
SLOW = 1_500_000  # bytes a second: DATA takes two seconds


@pytest.fixture
def served() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add(REPO, {"m.gguf": DATA, "README.md": b"hi"})
        yield hub


def variables(hub: Hub, folder: Path) -> dict[str, str]:
    """The environment of a user of `hub` whose home is `folder`."""
    return {
        **hub.variables,
        "HOME": str(folder),
        "USERPROFILE": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
    }


def pull(hub: Hub, folder: Path, *arguments: object, **more: str) -> Result:
    """Pull REFERENCE, or what `arguments` say, with `more` in the environment."""
    return run(*(arguments or [REFERENCE]), folder=folder, found={**variables(hub, folder), **more})


def run(*arguments: object, folder: Path, found: dict[str, str]) -> Result:
    return ossctl("pull", *arguments, cwd=folder, stdin=b"", **found)


def starting(hub: Hub, folder: Path) -> Process:
    streams = (subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
    return launch(["pull", REFERENCE], folder, variables(hub, folder), streams)


def part(folder: Path) -> Path:
    return folder / "hf" / "hub" / "models--org--model-GGUF" / "blobs" / f"{sha256(DATA)}.incomplete"


def arrived(folder: Path) -> int:
    """Bytes of the unfinished download, once there are some."""
    for _ in range(600):
        if part(folder).exists() and part(folder).stat().st_size:
            return part(folder).stat().st_size
        time.sleep(0.05)
    raise AssertionError("nothing arrives")


def assert_pulled(result: Result, data: bytes = DATA) -> None:
    assert result.code == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes() == data
    assert "SHA-256 verified" in result.said[-1]


def assert_refused(result: Result, code: int, *says: str) -> None:
    """It ended with `code`, and the last one or two lines say why."""
    assert result.code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    error = result.stderr.partition("ossctl: ")[2]
    assert len(error.splitlines()) <= 2
    for text in says:
        assert text in error


def test_stdout_is_the_path_and_messages_go_to_stderr(served: Hub, tmp_path: Path) -> None:
    result = pull(served, tmp_path)
    assert_pulled(result)
    first, unknown, where, last = result.said
    assert first == f"{REPO} · m.gguf · 3.0 MB · licence apache-2.0"
    assert unknown == "Whether it fits this machine is not known: m.gguf on the hub is not a GGUF file."
    assert where.startswith(f"3.0 MB to fetch into {tmp_path / 'hf' / 'hub'}, 0.2 s at 100 Mbit/s; ")
    assert where.endswith("GB free")
    assert last == f"hf:{REPO}:m.gguf is ready: 3.0 MB, SHA-256 verified."


def test_in_quiet_mode_the_path_is_all(served: Hub, tmp_path: Path) -> None:
    result = pull(served, tmp_path, f"hf:{REPO}", "-q")
    assert (result.code, result.stderr) == (0, "")
    assert Path(result.stdout.strip()).read_bytes() == DATA
    missing = pull(served, tmp_path, "hf:no/such", "-q")
    assert missing.said[0].startswith("ossctl: ")


def test_a_split_model_prints_its_first_shard(served: Hub, tmp_path: Path) -> None:
    served.add("org/split", PARTS)
    result = pull(served, tmp_path, "hf:org/split:m-00002-of-00002.gguf")
    assert_pulled(result, PARTS["m-00001-of-00002.gguf"])
    assert "2.0 MB in 2 parts" in result.said[0]


def test_a_newer_file_of_the_catalogue_is_pulled_with_a_note(served: Hub, tmp_path: Path) -> None:
    repository = served.add(
        "ggml-org/gpt-oss-20b-GGUF",
        {"gpt-oss-20b-MXFP4.gguf": DATA},
        newest=catalogue().entry("20b").variant.revision,
    )
    repository.commits.insert(0, {"gpt-oss-20b-MXFP4.gguf": DATA[::-1]})
    result = pull(served, tmp_path, "20B")
    assert_pulled(result)
    assert "is newer than this ossctl" in result.stderr
    assert result.said[-1].startswith("20b is ready")


def test_faults_of_every_kind_in_one_pull(served: Hub, tmp_path: Path) -> None:
    served.api_faults += [Status(503, retry_after=1)]
    served.faults += [
        Cut(300_000),
        Status(429, retry_after=1),
        Cut(400_000, reset=True),
        Stall(100_000, seconds=5),
        Status(500),
        Cut(1),
    ]
    result = pull(served, tmp_path)
    assert_pulled(result)
    assert [asked.start for asked in served.served if asked.start] != []
    assert sum("503" in line for line in result.said) == 1


def test_a_checksum_mismatch_is_reported_and_retried_once(served: Hub, tmp_path: Path) -> None:
    served.faults += [Flip(at=10)]
    result = pull(served, tmp_path)
    assert_pulled(result)
    assert "checksum mismatch for m.gguf" in result.stderr
    served.repositories[REPO].commits[0] = {"m.gguf": DATA[::-1]}
    served.faults += [Flip(at=10), Flip(at=10)]
    assert_refused(pull(served, tmp_path), 4, "second checksum mismatch for m.gguf", sha256(DATA[::-1]))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_after_kill_9_the_next_pull_resumes(served: Hub, tmp_path: Path) -> None:
    served.every = Slow(SLOW)
    with starting(served, tmp_path) as process:
        arrived(tmp_path)
        process.send_signal(signal.SIGKILL)
    kept = part(tmp_path).stat().st_size
    assert 0 < kept < len(DATA)
    served.every = None
    assert_pulled(pull(served, tmp_path))
    assert served.served[-1].start == kept
    assert not part(tmp_path).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("fault", [Slow(SLOW), Stall(65536, seconds=30)], ids=["flowing", "stalled"])
def test_a_signal_ends_it_at_once_and_the_next_pull_resumes(
    served: Hub, tmp_path: Path, number: signal.Signals, fault: Slow | Stall
) -> None:
    served.every = fault
    with starting(served, tmp_path) as process:
        arrived(tmp_path)
        started = time.monotonic()
        process.send_signal(number)
        stderr = process.communicate(timeout=30)[1].decode()
        seconds = time.monotonic() - started
    assert process.returncode == 128 + number
    assert stderr.splitlines()[-2:] == [
        "ossctl: interrupted",
        "Run the same command again to resume.",
    ]
    assert seconds < 5
    kept = part(tmp_path).stat().st_size
    served.every = None
    assert_pulled(pull(served, tmp_path))
    assert served.served[-1].start == kept > 0


def test_pulls_of_the_same_model_at_once_fetch_it_once(served: Hub, tmp_path: Path) -> None:
    served.every = Slow(SLOW)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: pull(served, tmp_path), range(3)))
    for result in results:
        assert_pulled(result)
    assert len(served.served) == 1
    assert sum("another program is fetching it" in result.stderr for result in results) == 2


def test_a_pull_beside_hugging_faces_own_command_waits_for_it(served: Hub, tmp_path: Path) -> None:
    served.every = Slow(SLOW)
    code = f"from huggingface_hub import hf_hub_download; print(hf_hub_download('{REPO}', 'm.gguf'))"
    theirs = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(tmp_path, **variables(served, tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with theirs:
        while not served.served:
            time.sleep(0.05)
        result = pull(served, tmp_path)
        assert theirs.communicate()[0].decode() == result.stdout
    assert_pulled(result)
    assert len(served.served) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_the_next_pull_resumes(
    served: Hub, tmp_path: Path, small_disk: Path
) -> None:
    full = pull(served, tmp_path, REFERENCE, "-y", HF_HOME=str(small_disk))
    assert_refused(
        full, 4, f"no space left on the disk of {small_disk / 'hub'}", "Free 0.1 GB and pull again"
    )
    kept = next(small_disk.rglob("*.incomplete")).stat().st_size
    assert 1_000_000 < kept < len(DATA)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert_pulled(pull(served, tmp_path, HF_HOME=str(small_disk)))
    assert served.served[-1].start == kept


def test_off_a_terminal_a_model_too_large_for_the_disk_is_an_error(
    served: Hub, tmp_path: Path, small_disk: Path
) -> None:
    result = pull(served, tmp_path, HF_HOME=str(small_disk))
    assert_refused(result, 4, "needs 0.9 MB more disk space", "-y")
    assert served.served == []


def test_it_shows_the_plan_before_it_starts(served: Hub, tmp_path: Path) -> None:
    served.add("org/smol", {"smol.gguf": smollm2().read_bytes()})
    result = pull(served, tmp_path, "hf:org/smol")
    assert result.code == 0
    assert re.fullmatch(r"on this machine: .*, with a context of 8,192 tokens", result.said[1])
    assert len(served.served) == 1  # the header was read from the hub, and the file fetched once


def test_off_a_terminal_a_model_too_large_for_memory_is_an_error(served: Hub, tmp_path: Path) -> None:
    served.add("org/vast", {"vast.gguf": enormous(tmp_path / "vast.gguf").read_bytes()})
    result = pull(served, tmp_path, "hf:org/vast")
    assert_refused(result, 5, "does not fit into", "`ossctl pull hf:org/vast -y` fetches it anyway.")
    assert "on this machine: does not fit; it needs" in result.stderr
    assert served.served == []
    assert pull(served, tmp_path, "hf:org/vast", "-y").code == 0
    assert len(served.served) == 1
    assert pull(served, tmp_path, "hf:org/vast").code == 0, "it is here: nothing to ask"


def test_a_header_that_cannot_be_read_does_not_stop_a_pull(served: Hub, tmp_path: Path) -> None:
    served.peek_faults += [Status(503)]
    result = pull(served, tmp_path)
    assert_pulled(result)
    assert result.said[1].startswith("Whether it fits this machine is not known: ")


@pytest.mark.parametrize(
    ("reference", "code", "says"),
    [
        ("", 2, ["the name of the model is empty", "ossctl ls"]),
        ("20bb", 4, ["no model is called 20bb", "Did you mean 20b"]),
        ("qwen", 4, ["no model is called qwen", "qwen3-30b"]),
        ("zzzz", 4, ["no model is called zzzz", "ossctl ls"]),
        ("nano", 2, ["nothing to fetch", "-m nano"]),
        ("model.gguf", 2, ["model.gguf is a path", "hf:ORG/REPO"]),
        ("hf:nonsense", 2, ["hf:nonsense is not a valid reference", "hf:ORG/REPO:Q4_K_M"]),
        ("hf:org/missing", 4, ["no public repository org/missing", "HF_TOKEN"]),
        ("hf:org/gated", 4, ["org/gated is gated", "HF_TOKEN"]),
        ("hf:org/words", 4, ["has no GGUF files; it has model.safetensors", "-GGUF"]),
        (f"{REFERENCE}:Q8_0", 4, ["has no model Q8_0; it has m.gguf", f"{REFERENCE}:m.gguf"]),
        (f"{REFERENCE}@nowhere", 4, ["has no revision nowhere", "tree/main"]),
    ],
)
def test_bad_references_are_errors(
    served: Hub, tmp_path: Path, reference: str, code: int, says: list[str]
) -> None:
    served.add("org/gated", {"m.gguf": DATA}, gated=True)
    served.add("org/words", {"model.safetensors": DATA})
    assert_refused(pull(served, tmp_path, reference), code, *says)


def test_the_error_for_a_file_too_large_for_http_names_another_command(served: Hub, tmp_path: Path) -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 65_369_017_728

    served.add("unsloth/gpt-oss-120b-GGUF", {"gpt-oss-120b-F16.gguf": Huge()})
    result = pull(served, tmp_path, "hf:unsloth/gpt-oss-120b-GGUF:F16")
    assert_refused(
        result, 4, "larger than the 50 GB", "`hf download unsloth/gpt-oss-120b-GGUF gpt-oss-120b-F16.gguf`"
    )


def offline(found: dict[str, str]) -> dict[str, str]:
    return {**found, "HF_HUB_OFFLINE": "1"}


def no_network(found: dict[str, str]) -> dict[str, str]:
    return {**found, "HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("change", "says"), [(offline, "HF_HUB_OFFLINE is set"), (no_network, "cannot reach http://127.0.0.1:9")]
)
def test_without_a_network_the_error_lists_local_models(
    served: Hub, tmp_path: Path, change: Callable[[dict[str, str]], dict[str, str]], says: str
) -> None:
    nothing = run("20b", folder=tmp_path, found=change(variables(served, tmp_path)))
    assert_refused(nothing, 4, says, "No model is on this machine yet.")
    assert_pulled(pull(served, tmp_path))
    result = run("20b", folder=tmp_path, found=change(variables(served, tmp_path)))
    assert_refused(result, 4, says, f"On this machine: {REFERENCE}:m.gguf.")


@pytest.mark.parametrize("change", [offline, no_network])
def test_without_a_network_a_verified_model_is_there(
    served: Hub, tmp_path: Path, change: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    there = pull(served, tmp_path)
    result = run(REFERENCE, folder=tmp_path, found=change(variables(served, tmp_path)))
    assert (result.code, result.stdout) == (0, there.stdout)
    (note,) = result.said
    assert note.startswith(f"{REFERENCE}:m.gguf is here and verified. A newer one was not looked for: ")


def test_a_drafter_beside_a_model_is_not_another_choice(served: Hub, tmp_path: Path) -> None:
    served.add("org/mtp-GGUF", {"m-Q4_0.gguf": DATA, "MTP/m-MTP-Q8_0.gguf": b"x", "mtp-m.gguf": b"x"})
    result = pull(served, tmp_path, "hf.co/org/mtp-GGUF")
    assert result.code == 0
    assert result.stdout.rstrip().endswith("m-Q4_0.gguf")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_without_permission_is_an_error(served: Hub, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir(mode=0o500)
    assert_refused(pull(served, tmp_path), 4, "Permission denied")


@pytest.mark.parametrize(
    ("variable", "says"), [("HF_HUB_CACHE", f"cannot store {REFERENCE} in"), ("HF_HOME", "Check HF_HOME")]
)
def test_a_cache_that_is_a_file_is_an_error(served: Hub, tmp_path: Path, variable: str, says: str) -> None:
    file = tmp_path / "file"
    file.write_text("in the way", "utf-8")
    assert_refused(
        run(REFERENCE, folder=tmp_path, found={**variables(served, tmp_path), variable: str(file)}),
        4,
        str(file),
        says,
    )
