"""How different the samples of one problem are from each other, by their words and by their embeddings.

All are over the samples of one problem, and all depend on how many there are: compare them at the same number. NaN where fewer than two
samples (or none of the length that is asked for) leave nothing to compare.

Legend: N samples of one problem, d embedding size.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU


def distinct_n(samples_N: Sequence[Sequence[Hashable]], n: int) -> float:
    """Different n-grams over all n-grams in the samples (Li et al. 2016, arXiv:1510.03055), of token ids or words. High is diverse.

    Longer samples repeat more by themselves. NaN if no sample has n tokens; raises ValueError if n < 1.

    >>> distinct_n([["a", "b"], ["a", "c"]], 1)
    0.75
    """
    if n < 1:
        raise ValueError(f"n must be >= 1; got n={n}.")
    grams = [tuple(sample[i : i + n]) for sample in samples_N for i in range(len(sample) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def self_bleu(texts_N: Sequence[str], *, tokenize: str = "13a") -> float:
    """Mean BLEU of each sample against all the others, in [0, 1] (Zhu et al. 2018, arXiv:1802.01886). Low is diverse.

    Sentence BLEU-4 by sacrebleu, effective order, exponential smoothing; `tokenize` is sacrebleu's: "13a" for words, "char" for answers
    without spaces. Grows with N by itself: more references, more matches. NaN for fewer than two texts.
    """
    if len(texts_N) < 2:
        return float("nan")
    bleu = BLEU(effective_order=True, tokenize=tokenize)
    scores = [
        bleu.sentence_score(text, [*texts_N[:i], *texts_N[i + 1 :]]).score / 100 for i, text in enumerate(texts_N)
    ]
    return float(np.mean(scores))


def distinct_share(values_N: Sequence[Hashable]) -> float:
    """Different values over values (final answers, solution paths): 1 if all differ. NaN if there are none.

    >>> distinct_share(["12", "12", "7", "9"])
    0.75
    """
    return len(set(values_N)) / len(values_N) if values_N else float("nan")


def mean_pairwise_cosine(embeddings_Nd: npt.NDArray[np.floating]) -> float:
    """Mean cosine similarity over pairs of different samples, in [-1, 1]. Low is diverse.

    From the norm of the sum, |sum u|^2 = N + sum over pairs, so that no N x N matrix is needed. NaN for fewer than two samples.
    """
    unit_Nd = unit_rows(embeddings_Nd)
    n = len(unit_Nd)
    if n < 2:
        return float("nan")
    return float((np.square(unit_Nd.sum(axis=0)).sum() - n) / (n * (n - 1)))


def vendi_score(embeddings_Nd: npt.NDArray[np.floating]) -> float:
    """Effective number of different samples, in [1, N] (Friedman and Dieng 2023, arXiv:2210.02410). High is diverse.

    exp of the entropy of the eigenvalues of K / N, with K the cosine similarities; the d x d Gram matrix has the same ones where d < N.
    NaN if there is no sample.
    """
    unit_Nd = unit_rows(embeddings_Nd)
    n, d = unit_Nd.shape
    if n == 0:
        return float("nan")
    gram = unit_Nd @ unit_Nd.T if n <= d else unit_Nd.T @ unit_Nd
    eigenvalues = np.linalg.eigvalsh(gram / n)
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def unit_rows(embeddings_Nd: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows of length 1. Raises ValueError for rows that have no direction, and anything but [N, d]."""
    embeddings = np.asarray(embeddings_Nd, dtype=np.float64)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be [samples, dimensions]; got shape {embeddings.shape}.")
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError(
            f"every embedding must be finite and other than 0; row {int(np.argmin(np.isfinite(norms) & (norms > 0)))} is not."
        )
    return embeddings / norms
