"""Models of other programs on this machine. They are used in place and never modified."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ossctl.hub.catalogue import catalogue
from ossctl.hub.local import LocalModel, Origin, group_shards

_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_REGISTRY = ("registry.ollama.ai", "library")  # Ollama omits these from names


def models_of_other_apps() -> Iterator[LocalModel]:
    """The models in the folders of LM Studio, llama.cpp and Ollama, without opening their files."""
    for folder in _lm_studio_folders():
        yield from _models_below(folder, Origin.LM_STUDIO)
    for folder in _llama_cpp_folders():
        yield from _models_below(folder, Origin.LLAMA_CPP)
    for folder in _ollama_folders():
        yield from _ollama_models(folder)


def _models_below(folder: Path, origin: Origin) -> Iterator[LocalModel]:
    names = [path.relative_to(folder).as_posix() for path in _gguf_files(folder)]
    for first, files, missing in group_shards(names, folder):
        name = _known_name(first) if origin is Origin.LM_STUDIO else None
        yield LocalModel(name or str(folder / first), origin, files, missing, label=first)


def _known_name(path: str) -> str | None:
    """The catalogue's name for `ORG/REPO/FILE`, the layout of LM Studio's folder."""
    repo, _, file = path.rpartition("/")
    return catalogue().name_of(repo, file)


def _gguf_files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in folder.rglob("*.gguf") if path.is_file()]
    return []


def _lm_studio_folders() -> list[Path]:
    """The default folder (lmstudio.ai/docs/app/basics/import-model), the one of versions before 0.3, and the
    one that the user has moved models to.
    """
    folders = [*_in_home(".lmstudio", "models"), *_in_home(".cache", "lm-studio", "models")]
    for pointer in _in_home(".lmstudio-home-pointer"):
        with contextlib.suppress(OSError):
            folders.append(Path(pointer.read_text(encoding="utf-8").strip()) / "models")
    return list(dict.fromkeys(folders))


def _llama_cpp_folders() -> list[Path]:
    """LLAMA_CACHE, or llama.cpp's own cache from before it used the Hugging Face one."""
    if given := os.environ.get("LLAMA_CACHE"):
        return [Path(given)]
    if sys.platform == "darwin":
        return _in_home("Library", "Caches", "llama.cpp")
    variable, *default = ("LOCALAPPDATA", "AppData", "Local") if sys.platform == "win32" else (
        "XDG_CACHE_HOME", ".cache"
    )  # fmt: skip
    if caches := os.environ.get(variable):
        return [Path(caches) / "llama.cpp"]
    return _in_home(*default, "llama.cpp")


def _ollama_folders() -> list[Path]:
    """OLLAMA_MODELS, or the user's folder and that of the Linux service (docs.ollama.com/faq)."""
    if given := os.environ.get("OLLAMA_MODELS"):
        return [Path(given)]
    return [*_in_home(".ollama", "models"), Path("/usr/share/ollama/.ollama/models")]


def _in_home(*parts: str) -> list[Path]:
    """A path in the user's home folder; none without one, as for a container's user in no passwd file."""
    try:
        return [Path.home().joinpath(*parts)]
    except RuntimeError:
        return []


def _ollama_models(folder: Path) -> Iterator[LocalModel]:
    """Read Ollama's manifests, `manifests/HOST/NAMESPACE/MODEL/TAG`. They list blobs by hash."""
    manifests = folder / "manifests"
    with contextlib.suppress(OSError):
        for manifest in sorted(path for path in manifests.rglob("*") if path.is_file()):
            blob = _ollama_blob(manifest, folder / "blobs")
            if blob is not None and blob.is_file():
                label = _ollama_label(manifest.relative_to(manifests).parts)
                yield LocalModel(str(blob), Origin.OLLAMA, (blob,), label=label)


def _ollama_blob(manifest: Path, blobs: Path) -> Path | None:
    """The file with the weights, or None if the manifest lists none or is not readable."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        for layer in json.loads(manifest.read_bytes())["layers"]:
            if layer["mediaType"] == _OLLAMA_MODEL:
                return blobs / str(layer["digest"]).replace(":", "-")
    return None


def _ollama_label(parts: tuple[str, ...]) -> str:
    """Ollama's own name for a manifest: `gpt-oss:20b` for registry.ollama.ai/library/gpt-oss/20b."""
    *path, tag = parts
    if tuple(path[:2]) == _OLLAMA_REGISTRY:
        path = path[2:]
    return f"{'/'.join(path)}:{tag}"
