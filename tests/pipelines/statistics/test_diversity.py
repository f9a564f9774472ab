"""Diversity against hand counts, definitions and the extremes."""

import doctest
import math

import numpy as np
import pytest

from pipelines.statistics import diversity
from pipelines.statistics.diversity import distinct_n, distinct_share, mean_pairwise_cosine, self_bleu, vendi_score


def test_distinct_n_counts_grams() -> None:
    samples = [[1, 2, 3], [1, 2, 4], [5]]
    assert distinct_n(samples, 1) == 5 / 7
    assert distinct_n(samples, 2) == 3 / 4
    assert distinct_n(samples, 3) == 1
    assert math.isnan(distinct_n(samples, 4))
    with pytest.raises(ValueError, match="n=0"):
        distinct_n(samples, 0)


def test_self_bleu_runs_from_unlike_to_equal_texts() -> None:
    equal = self_bleu(["the cat sat on the mat"] * 3)
    alike = self_bleu(["the cat sat on the mat", "the cat sat on a mat", "a cat sat on the mat"])
    unlike = self_bleu(
        ["the cat sat on the mat", "seven prime numbers below twenty", "rain falls softly again tonight"]
    )
    assert equal == pytest.approx(1) and equal > alike > unlike and unlike < 0.1


def test_self_bleu_of_answers_without_spaces_is_by_characters() -> None:
    texts = ["25-19=6,3*6=18", "25-19=6,6*3=18"]
    assert self_bleu(texts, tokenize="char") > self_bleu(texts)
    assert math.isnan(self_bleu(texts[:1]))


def test_cosine_is_the_mean_over_pairs() -> None:
    embeddings = np.random.default_rng(0).normal(size=(7, 5))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(7) for j in range(i)]
    assert mean_pairwise_cosine(embeddings) == pytest.approx(np.mean(pairs))
    assert math.isnan(mean_pairwise_cosine(embeddings[:1]))


def test_vendi_is_the_effective_number_of_different_samples() -> None:
    assert vendi_score(np.eye(6)) == pytest.approx(6)
    assert vendi_score(np.ones((6, 3))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)
    assert math.isnan(vendi_score(np.zeros((0, 3))))


def test_vendi_is_the_same_by_either_gram_matrix() -> None:
    embeddings = np.random.default_rng(1).normal(size=(9, 4))
    padded = np.hstack([embeddings, np.zeros((9, 20))])
    assert vendi_score(embeddings) == pytest.approx(vendi_score(padded))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    eigenvalues = np.clip(np.linalg.eigvalsh(unit @ unit.T / 9), 1e-300, None)
    assert vendi_score(embeddings) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))


def test_embeddings_without_direction_are_refused() -> None:
    with pytest.raises(ValueError, match="row 1"):
        vendi_score(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        vendi_score(np.ones(3))


def test_distinct_share_of_nothing_is_nan() -> None:
    assert math.isnan(distinct_share([]))


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(diversity).failed == 0 and doctest.testmod(diversity).attempted == 2
