import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from huggingface_hub import close_session, constants

from ossctl.engine.grammar import JsonGrammars
from ossctl.harmony.dialect import HarmonyDialect
from ossctl.harmony.markers import Markers
from ossctl.runtime.model import LlamaModel
from tests.support.harmony_reference import Reference
from tests.support.hub import Hub
from tests.support.models import byte_gpt_oss, smollm2, tiny_gpt_oss

# As installed: hundreds of started programs would compile all modules anew, at twice the time each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same few examples each time; `make test-random` draws many others. How long one takes says more about
# the machine than about the code.
hypothesis.settings.register_profile("few", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.register_profile("many", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("few")


def pytest_xdist_auto_num_workers() -> int:
    """Tests wait for programs, terminals and networks for a quarter of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def smol() -> Iterator[LlamaModel]:
    """SmolLM2-135M, real weights."""
    with LlamaModel(smollm2()) as model:
        yield model


@pytest.fixture(scope="session")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    """gpt-oss's architecture, sliding window and all, with random weights and a vocabulary of bytes."""
    with LlamaModel(byte_gpt_oss(tmp_path_factory.mktemp("models"))) as model:
        yield model


@pytest.fixture(scope="session")
def byte_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of such a model, for tests that load it themselves."""
    return byte_gpt_oss(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def o200k(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    """The same with the released models' whole vocabulary."""
    with warnings.catch_warnings(action="ignore"):  # importing bpe-openai warns
        path = tiny_gpt_oss(tmp_path_factory.mktemp("models"))
    with LlamaModel(path) as model:
        yield model


@pytest.fixture(scope="session")
def harmony(o200k: LlamaModel) -> HarmonyDialect:
    """Harmony with that vocabulary."""
    markers = Markers.of(o200k.vocab)
    assert markers is not None
    return HarmonyDialect(o200k.vocab, markers, JsonGrammars(o200k.vocab))


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """OpenAI's implementation of Harmony."""
    return Reference(tmp_path_factory.mktemp("openai"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that huggingface-hub uses in this process, with an empty cache."""
    with Hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served
        close_session()


@pytest.fixture(scope="session", autouse=True)
def _inspects_streams() -> Iterator[None]:
    """Free the streams that Inspect leaves open, while pytest does not take that for an error."""
    yield
    if "inspect_ai" in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
