"""`ossctl ls`, `show`, `verify` and `rm`: from a pulled model back to free disk space."""

import functools
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader, GGUFWriter, ReaderTensor

from ossctl.cli.models import _ENTRY_HEAD, _entry_row
from ossctl.cli.output import columns
from ossctl.hub.catalogue import catalogue
from tests.support.command import Result, command, environment, ossctl
from tests.support.hub import Cut, Hub, Slow, Status, sha256
from tests.support.models import byte_gpt_oss, smollm2

SMALL, SPLIT, OTHER = "org/small-GGUF", "org/split-GGUF", "ggml-org/gpt-oss-20b-GGUF"
PINNED = catalogue().entry("20b").variant.revision
NAMES = {SMALL: "tiny-Q8_0.gguf", OTHER: "gpt-oss-20b-MXFP4.gguf"}


@dataclass(frozen=True)
class User:
    """A user whose home is `folder` and who uses `hub`."""

    folder: Path
    hub: Hub

    def __call__(self, *arguments: object, stdin: bytes = b"", **more: str) -> Result:
        found = {**self.hub.variables, "HOME": str(self.folder), "USERPROFILE": str(self.folder)}
        found = {**found, "HF_HOME": str(self.folder / "hf"), "XDG_CACHE_HOME": "", "LOCALAPPDATA": ""}
        for name in ("LLAMA_CACHE", "OLLAMA_MODELS"):
            found[name] = ""
        return ossctl(*arguments, cwd=self.folder, stdin=stdin, **{**found, **more})

    def json(self, *arguments: object) -> dict[str, Any]:
        """The document that a command prints."""
        result = self(*arguments, "--json")
        return dict(json.loads(result.stdout))

    @property
    def cache(self) -> Path:
        return self.folder / "hf" / "hub"

    def files(self) -> set[str]:
        """Every file of the cache's repositories, by name."""
        return {p.name for repo in self.cache.glob("models--*") for p in repo.rglob("*") if not p.is_dir()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A gpt-oss model of half a megabyte."""
    return byte_gpt_oss(tmp_path_factory.mktemp("tiny")).read_bytes()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """SmolLM2 with its first tensors, split in two as llama.cpp does."""
    return split(smollm2(), tmp_path_factory.mktemp("split") / "smol")


@pytest.fixture(scope="module")
def hub(tiny: bytes, parts: dict[str, bytes]) -> Iterator[Hub]:
    with Hub() as served:
        served.add(SMALL, {NAMES[SMALL]: tiny, "README.md": b"hi", "tiny-F16.gguf": tiny + bytes(32)})
        served.add(SPLIT, parts)
        served.add(OTHER, {NAMES[OTHER]: tiny + bytes(64)}, newest=PINNED)
        yield served


@pytest.fixture(scope="module")
def pulled(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three models."""
    user = User(tmp_path_factory.mktemp("home"), hub)
    for reference in (f"hf:{SMALL}:Q8_0", f"hf:{SPLIT}", "20b"):
        result = user("pull", reference)
        assert result.code == 0, result.stderr
    return user.folder


@pytest.fixture
def owner(hub: Hub, pulled: Path) -> User:
    """The user who pulled them, for tests that change nothing."""
    return User(pulled, hub)


@pytest.fixture
def user(hub: Hub, pulled: Path, tmp_path: Path) -> User:
    """A user with a copy of that home without verifications."""
    folder = tmp_path / "home"
    shutil.copytree(pulled, folder, symlinks=True)
    return User(folder, hub)


@functools.cache
def first_tensors(path: Path) -> list[ReaderTensor]:
    return GGUFReader(path).tensors[:4]


def split(path: Path, stem: Path) -> dict[str, bytes]:
    """The first tensors of a model as two files."""
    writer = GGUFWriter(str(stem.with_suffix(".gguf")), "llama", split_max_tensors=2)
    writer.add_context_length(8192)
    for tensor in first_tensors(path):
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {file.name: file.read_bytes() for file in sorted(stem.parent.glob("smol-*.gguf"))}


def test_ls_shows_origin_and_verification(owner: User, tiny: bytes) -> None:
    result = owner("ls")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["NAME", "SIZE", "TYPE", "FROM", "LAST", "USED", "VERIFIED", "FITS"]
    names = [line.split()[0] for line in lines]
    assert names == ["20b", f"hf:{SMALL}:tiny-Q8_0.gguf", f"hf:{SPLIT}:smol-00001-of-00002.gguf"]
    assert all("Hugging Face" in line and "never      yes" in line for line in lines)
    assert [line.split()[-1] for line in lines[:2]] == ["yes", "yes"]


def test_ls_json_says_the_same(owner: User, tiny: bytes) -> None:
    document = owner.json("ls")
    assert document["schema"] == "ossctl.ls/1"
    model = next(model for model in document["models"] if model["repo"] == SMALL)
    assert model["bytes"] == len(tiny)
    assert model["origin"] == "Hugging Face"
    assert model["commit"] == owner.hub.repositories[SMALL].commit(0)
    assert model["verified"] is True
    assert model["fits"] is True
    assert (model["last_used"], model["problem"], model["type"]) == (None, None, "Q8_0")
    assert [Path(file).read_bytes() for file in model["files"]] == [tiny]


def test_ls_all_also_lists_what_could_be_fetched(owner: User) -> None:
    lines = owner("ls", "--all").stdout.splitlines()
    assert any(line.startswith("120b ") and "63.4 GB" in line and "Apache-2.0" in line for line in lines)
    assert sum(line.startswith("20b ") for line in lines) == 1


def test_ls_of_an_empty_machine_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    result = User(tmp_path, hub)("ls")
    assert (result.code, result.stdout) == (0, "")
    assert "ossctl pull" in result.stderr


def test_ls_shows_an_unfinished_download_and_rm_deletes_it(hub: Hub, tmp_path: Path, tiny: bytes) -> None:
    user = User(tmp_path, hub)
    hub.faults += [Cut(100_000), Status(404)]
    assert user("pull", "20b").code == 4
    assert (
        user("ls").stdout
        == f"unfinished: hf:{OTHER}, 0.1 MB; `ossctl pull` resumes it, `ossctl rm` deletes it\n"
    )
    (unfinished,) = user.json("ls")["unfinished"]
    assert unfinished["bytes"] == 100_000
    assert user("rm", f"hf:{OTHER}", "-y").code == 0
    assert user.files() == set()


def test_rm_does_not_delete_a_file_that_is_being_pulled(hub: Hub, tmp_path: Path) -> None:
    user = User(tmp_path, hub)
    hub.faults += [Slow(100_000)]
    with ThreadPoolExecutor() as pool:
        pull = pool.submit(user, "pull", "20b")
        while not any(name.endswith(".incomplete") for name in user.files()):
            time.sleep(0.05)
        result = user("rm", "-y", f"hf:{OTHER}")
        assert result.code == 4
        assert "another program is fetching this model" in result.stderr
        assert pull.result().code == 0


def test_a_file_with_a_senseless_header_does_not_hide_the_other_models(hub: Hub, tmp_path: Path) -> None:
    user, folder = User(tmp_path, hub), tmp_path / "llama.cpp"
    folder.mkdir()
    writer = GGUFWriter(str(folder / "odd.gguf"), "qwen3moe")
    for key in ("block_count", "context_length", "embedding_length", "vocab_size"):
        writer.add_uint32(f"qwen3moe.{key}", 1)
    writer.add_float32("qwen3moe.expert_used_count", math.inf)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shutil.copy(smollm2(), folder / "good.gguf")
    listed = user("ls", LLAMA_CACHE=str(folder))
    assert listed.code == 0, listed.stderr
    assert "good.gguf" in listed.stdout
    planned = user("plan", folder / "odd.gguf")
    assert planned.code == 4
    assert "no valid expert_used_count" in planned.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows always has a home folder")
def test_a_user_without_a_home_folder_is_told_what_to_set(tmp_path: Path) -> None:
    shutil.copy(smollm2(), tmp_path / "m.gguf")
    places = {"OSSCTL_HOME": str(tmp_path / "o"), "HF_HOME": str(tmp_path / "hf")}
    with_places = homeless(tmp_path, "ls", **places, LLAMA_CACHE=str(tmp_path))
    assert with_places.returncode == 0, with_places.stderr
    assert "m.gguf" in with_places.stdout
    for missing in places:
        refused = homeless(tmp_path, "ls", **{name: at for name, at in places.items() if name != missing})
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "ossctl: this user has no home folder" in refused.stderr
        assert missing in refused.stderr
        assert not (tmp_path / "~").exists()


def homeless(folder: Path, *arguments: str, **places: str) -> subprocess.CompletedProcess[str]:
    """Run ossctl as a user whom the system does not know, as containers do."""
    found = {"PATH": os.environ["PATH"], **places}
    program = (
        "import pwd, sys\n"
        "def getpwuid(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = getpwuid\n"
        "from ossctl.cli.main import main\n"
        "main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env=found, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_ls_into_head_ends_quietly(owner: User) -> None:
    found = environment(owner.folder, HF_HOME=str(owner.folder / "hf"))
    with subprocess.Popen(
        command("ls"), cwd=owner.folder, env=found, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_show_describes_a_model(owner: User, tiny: bytes) -> None:
    rows = dict(line.split(None, 1) for line in owner("show", f"hf:{SMALL}").stdout.splitlines())
    assert rows["architecture"] == "gpt-oss"
    assert rows["context"] == "131,072 tokens"
    assert rows["plan"].endswith(" tokens")
    assert rows["chat"] == "format   Harmony"
    assert {part.split()[0] for part in rows["tensors"].split(", ")} == {"Q8_0", "MXFP4", "F32"}
    assert rows["verified"] == "yes"
    document = owner.json("show", f"hf:{SMALL}")
    assert document["schema"] == "ossctl.show/1"
    assert sum(document["bytes_by_type"].values()) <= len(tiny)
    assert document["chat_format"] == "Harmony"
    assert document["fits"] is True


def test_show_of_a_model_of_the_catalogue_says_what_it_is_for(owner: User) -> None:
    document = owner.json("show", "20b")
    assert document["here"] is True
    assert document["licence"] == "Apache-2.0"
    assert "16 GB" in document["catalogue"]["about"]


def test_show_of_a_model_that_is_not_here_says_how_to_pull_it(owner: User) -> None:
    result = owner("show", "gpt-oss-120b")
    assert result.code == 0
    assert "`ossctl pull 120b` fetches it" in result.stdout
    assert owner.json("show", "120b")["here"] is False


def test_show_includes_the_tensors_of_all_shards(owner: User) -> None:
    document = owner.json("show", f"hf:{SPLIT}")
    assert document["chat_format"] == "none"
    assert len(document["files"]) == 2
    expected = sum(int(tensor.n_bytes) for tensor in first_tensors(smollm2()))
    assert sum(document["bytes_by_type"].values()) == expected


def test_verify_of_an_intact_model(user: User) -> None:
    result = user("verify", f"hf:{SPLIT}")
    assert result.code == 0
    assert result.stdout.splitlines() == [f"smol-0000{n}-of-00002.gguf  SHA-256 matches" for n in (1, 2)]


def test_verify_finds_one_changed_bit(user: User, tiny: bytes) -> None:
    path = user.cache / "models--org--small-GGUF" / "blobs" / sha256(tiny)
    changed = bytearray(tiny)
    changed[-1] ^= 1
    path.write_bytes(changed)
    document = user.json("ls")
    assert [model["verified"] for model in document["models"] if model["repo"] == SMALL] == [False]
    result = user("verify", f"hf:{SMALL}")
    assert result.code == 4
    assert f"is damaged: its sha256 is {sha256(bytes(changed))}, not {sha256(tiny)}" in result.stderr
    assert result.said[-1] == f"`ossctl pull hf:{SMALL}:{NAMES[SMALL]}` fetches it again."
    verdict = user.json("verify", f"hf:{SMALL}")
    assert (verdict["schema"], verdict["ok"], verdict["verified"]) == ("ossctl.verify/1", False, False)
    assert user("pull", f"hf:{SMALL}:Q8_0").code == 0
    assert user("verify", f"hf:{SMALL}").code == 0


def test_verify_finds_a_truncated_file_without_hashing_it(user: User, tiny: bytes) -> None:
    path = user.cache / "models--org--small-GGUF" / "blobs" / sha256(tiny)
    path.write_bytes(tiny[:-1000])
    result = user("verify", f"hf:{SMALL}")
    assert result.code == 4
    assert "is incomplete" in result.stderr
    (listed,) = [model for model in user.json("ls")["models"] if model["repo"] == SMALL]
    assert "is incomplete" in listed["problem"]


@pytest.mark.skipif(sys.platform != "linux", reason="sees in /proc when it is at work")
def test_verify_can_be_stopped(owner: User, tmp_path: Path, tiny: bytes) -> None:
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.write(tiny)
        file.truncate(50_000_000_000)  # a hole: it takes no space, and half a minute
    found = environment(tmp_path, HF_HOME=str(owner.folder / "hf"))
    with subprocess.Popen(
        command("verify", path), cwd=tmp_path, env=found, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        files = Path(f"/proc/{process.pid}/fd")
        while path not in {file.resolve() for file in files.iterdir()}:
            time.sleep(0.1)
        time.sleep(0.5)  # the header is read first, and that it cannot be stopped in is no matter
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert stdout == b""
    assert stderr.decode().splitlines()[-2:] == [
        "ossctl: interrupted",
        "Files that were verified so far are recorded.",
    ]


def test_verify_of_a_file_without_a_known_hash_checks_that_it_is_complete(user: User) -> None:
    result = user("verify", smollm2())
    assert result.code == 0
    assert "complete; the expected SHA-256 is not known" in result.stdout


def test_rm_says_what_it_frees_and_gives_the_space_back(user: User, tiny: bytes) -> None:
    refused = user("rm", f"hf:{SMALL}")
    assert (refused.code, refused.stdout) == (2, "")
    assert f"{sha256(tiny)} · 0.5 MB" in refused.stderr
    assert "-y" in refused.stderr
    assert sha256(tiny) in user.files()
    document = user.json("rm", "-y", f"hf:{SMALL}")
    assert (document["schema"], document["freed_bytes"]) == ("ossctl.rm/1", len(tiny))
    assert not (user.cache / "models--org--small-GGUF").exists()
    assert user("rm", "-y", f"hf:{SPLIT}").code == 0
    assert user("rm", "-y", "20b").code == 0
    assert user.files() == set()
    assert user("ls").stdout == ""


def test_rm_of_a_name_deletes_any_revision_of_the_model_and_nothing_else(
    hub: Hub, tmp_path: Path, tiny: bytes
) -> None:
    user, repo = User(tmp_path, hub), tmp_path / "hf" / "hub" / f"models--{OTHER.replace('/', '--')}"
    snapshot, blobs = repo / "snapshots" / ("0" * 40), repo / "blobs"
    partial = catalogue().entry("20b").variant.files[0].sha256 + ".incomplete"
    foreign = "a" * 64 + ".incomplete"
    for file in (snapshot / NAMES[OTHER], blobs / partial, blobs / foreign):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(tiny)
    assert user.json("rm", "-y", "20b")["freed_bytes"] == 2 * len(tiny)
    assert user.files() == {foreign}
    refused = user("rm", "-y", "20b")
    assert refused.code == 4
    assert "20b is not on this machine" in refused.stderr
    assert user.files() == {foreign}


def test_rm_leaves_the_other_models_of_a_repository(user: User, tiny: bytes) -> None:
    assert user("pull", f"hf:{SMALL}:F16").code == 0
    assert user("rm", "-y", f"hf:{SMALL}:Q8_0").code == 0
    assert [model["name"] for model in user.json("ls")["models"]] == [
        "20b",
        f"hf:{SMALL}:tiny-F16.gguf",
        f"hf:{SPLIT}:smol-00001-of-00002.gguf",
    ]
    assert user("verify", f"hf:{SMALL}").code == 0


def test_rm_keeps_a_blob_that_another_file_uses(user: User, tiny: bytes) -> None:
    snapshot = next((user.cache / "models--org--small-GGUF" / "snapshots").iterdir())
    (snapshot / "same.gguf").symlink_to((snapshot / NAMES[SMALL]).readlink())
    document = user.json("rm", "-y", f"hf:{SMALL}:Q8_0")
    assert document["freed_bytes"] == 0
    assert len(document["kept"]) == 1
    assert (snapshot / "same.gguf").read_bytes() == tiny


def test_rm_keeps_a_blob_that_repositories_share(user: User, tiny: bytes) -> None:
    """huggingface-hub can keep blobs of several repositories in one store, with symlinks to it."""
    blob = user.cache / "models--org--small-GGUF" / "blobs" / sha256(tiny)
    store = user.cache / "blobs" / "ab" / ("ab" * 32)  # named by a hash, but not by the sha256
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(Path("..") / ".." / "blobs" / "ab" / store.name)
    assert user("verify", f"hf:{SMALL}").code == 0
    document = user.json("rm", "-y", f"hf:{SMALL}:Q8_0")
    assert document["freed_bytes"] == 0
    assert store.read_bytes() == tiny
    assert not (user.cache / "models--org--small-GGUF").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "zzz"], 4, "no model is called zzz"),
        (["show", "hf:org/none"], 4, "hf:org/none is not on this machine"),
        (["show", "no.gguf"], 4, "no model file at no.gguf"),
        (["verify", "120b"], 4, "`ossctl pull 120b` fetches it: 63.4 GB"),
        (["verify", "no.gguf"], 4, "no model file at no.gguf"),
        (["verify", "words.gguf"], 4, "is not a GGUF file"),
        (["verify", "m-00002-of-00002.gguf"], 4, "Pass the first shard, m-00001-of-00002.gguf"),
        (["verify", "m-00001-of-00002.gguf"], 4, "m-00002-of-00002.gguf is missing"),
        (["rm", "-y", "120b"], 4, "120b is not on this machine"),
        (["rm", "-y", "nano"], 2, "part of ossctl"),
        (["rm", "-y", "words.gguf"], 2, "Delete the file yourself."),
        (["rm", "-y", "hf:nonsense"], 2, "not a valid reference to a model"),
        (["show", ""], 2, "the name of the model is empty"),
        (["rm", "-y", ""], 2, "the name of the model is empty"),
        (["verify", "."], 4, "is a directory"),
    ],
)
def test_bad_references_are_errors(user: User, arguments: list[str], code: int, says: str) -> None:
    for name in ("words.gguf", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"):
        (user.folder / name).write_text("words", "utf-8")
    if says.endswith("is missing"):
        (user.folder / "m-00002-of-00002.gguf").unlink()
    result = user(*arguments)
    assert result.code == code
    assert says in result.stderr
    assert len(result.said) <= 2
    assert result.stdout == ""


def test_the_error_for_an_ambiguous_reference_lists_the_models(user: User) -> None:
    assert user("pull", f"hf:{SMALL}:F16").code == 0
    result = user("show", f"hf:{SMALL}")
    assert result.code == 2
    assert "has 2 models: F16, Q8_0" in result.stderr


def test_models_of_other_programs_are_listed_and_not_modified(hub: Hub, tmp_path: Path, tiny: bytes) -> None:
    user = User(tmp_path, hub)
    studio = tmp_path / ".lmstudio" / "models" / "lmstudio-community" / "gpt-oss-20b-GGUF"
    cpp = tmp_path / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "llama.cpp"
    if sys.platform == "win32":
        cpp = tmp_path / "AppData" / "Local" / "llama.cpp"
    for path, data in {
        studio / "gpt-oss-20b-MXFP4.gguf": tiny,
        cpp / "tiny.gguf": tiny + b"\0",
        cpp / "broken.gguf": tiny[:600],
        cpp / "mmproj-tiny.gguf": tiny,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    ollama_model(tmp_path, "tiny", "latest", tiny + b"\0\0")
    # Ollama's own architecture, which llama.cpp does not know
    ollama_model(tmp_path, "gpt-oss", "20b", tiny.replace(b"gpt-oss", b"gptoss."))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    models = user.json("ls")["models"]
    assert [(model["origin"], model["label"]) for model in models] == [
        ("LM Studio", "lmstudio-community/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf"),
        ("llama.cpp", "tiny.gguf"),
        ("Ollama", "tiny:latest"),
    ]
    assert models[0]["name"] == "20b:lmstudio"
    assert user("verify", "20b:lmstudio").code == 0
    assert user("verify", models[2]["name"]).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    refused = user("rm", "-y", "20b:lmstudio")
    assert refused.code == 2
    assert "belongs to LM Studio" in refused.stderr
    assert "Delete it there." in refused.stderr


def ollama_model(home: Path, name: str, tag: str, data: bytes) -> None:
    """A model as Ollama stores it."""
    folder = home / ".ollama" / "models"
    digest = hashlib.sha256(data).hexdigest()
    manifest = folder / "manifests" / "registry.ollama.ai" / "library" / name / tag
    manifest.parent.mkdir(parents=True)
    (folder / "blobs").mkdir(exist_ok=True)
    (folder / "blobs" / f"sha256-{digest}").write_bytes(data)
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{digest}",
        "size": len(data),
    }
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [layer]}), "utf-8")


def test_the_whole_catalogue_fits_a_hundred_columns() -> None:
    lines = columns([_ENTRY_HEAD, *map(_entry_row, catalogue().entries)])
    assert max(map(len, lines)) <= 100
    assert len(lines) > 30
