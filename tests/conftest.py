from collections.abc import Iterator
from pathlib import Path

import pytest
from models import byte_gpt_oss, smollm2

from ossctl.runtime.model import LlamaModel


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
