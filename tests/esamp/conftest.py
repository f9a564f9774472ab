"""The engine that others are compared with: stock vLLM on the tiny model, started once for all modules."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vllm import LLM


@pytest.fixture(scope="session")
def stock(tiny_model: Path) -> "LLM":
    from tests.esamp.engine.engines import start_engine  # imports vLLM, which most tests of esamp do without

    return start_engine(tiny_model)
