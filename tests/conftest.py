"""Shared by all tests: one thread, no chatter from the network, and a tiny random model that real vLLM runs."""

import os
from pathlib import Path

import pytest

os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        # Whoever calls Ray where there is none gets an error, instead of a Ray of its own that the next test meets.
        "RAY_ENABLE_AUTO_CONNECT": "0",
    }
)

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Test inputs that are not part of the project; tests that use them skip where they are absent."""


def save_tiny_model(folder: Path, **settings: object) -> Path:
    """A random Qwen3 of 3 layers, hidden 64, vocabulary 128, with logits peaked enough that sampling has something to choose."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(7)
    defaults: dict[str, object] = {
        "vocab_size": 128,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "initializer_range": 0.25,
        "eos_token_id": 0,
    }
    config = Qwen3Config(**{**defaults, **settings})
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as it is: head and embedding apart, a vocabulary that needs no padding."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def tied_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its head is its embedding, and its vocabulary one that vLLM pads: the shape of most small models."""
    return save_tiny_model(
        tmp_path_factory.mktemp("tied-model"), tie_word_embeddings=True, vocab_size=100, initializer_range=0.15
    )
