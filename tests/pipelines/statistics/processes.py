"""Sampling processes whose truth is known, for simulations. All give correctness [runs, P problems, N samples in launch order]."""

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.bool_]


def independent(rng: np.random.Generator, runs: int, problems: int, samples: int) -> Correct:
    """Problems of Beta(0.5, 1) difficulty, samples independent: pass@k = 1 - E(1-p)^k."""
    p = rng.beta(0.5, 1, size=(runs, problems, 1))
    return rng.random((runs, problems, samples)) < p


def polya_urn(rng: np.random.Generator, runs: int, problems: int, samples: int) -> Correct:
    """Every sample is drawn from an urn of 1 correct and 3 wrong balls, to which two of its own kind are then added.

    Siblings copy each other: strongly dependent, yet exchangeable (the number correct is beta-binomial).
    """
    correct = np.zeros((runs, problems, samples), dtype=bool)
    right, total = np.ones((runs, problems)), 4.0
    for i in range(samples):
        correct[:, :, i] = rng.random((runs, problems)) < right / total
        right += 2 * correct[:, :, i]
        total += 2
    return correct


def first_is_different(rng: np.random.Generator, runs: int, problems: int, samples: int) -> Correct:
    """The first sample is correct with 0.6, the others with 0.15: launch order matters."""
    p = np.full(samples, 0.15)
    p[0] = 0.6
    return rng.random((runs, problems, samples)) < p


def taking_turns(rng: np.random.Generator, runs: int, problems: int, samples: int) -> Correct:
    """Samples cover the ways to go without repeating one: of each 4 in random places exactly 1 is correct, as if they repelled."""
    pattern = np.tile(np.arange(samples) % 4 == 0, (runs, problems, 1))
    return rng.permuted(pattern, axis=2)


def pass_at_k_truth(process: object, k: int, samples: int) -> float:
    """P(a random k-subset of a group holds a correct sample), from 400,000 groups."""
    correct = process(np.random.default_rng(99), 1, 400_000, samples)[0]  # type: ignore[operator]
    wrong = samples - correct.sum(axis=1)
    none = np.ones(len(wrong))
    for i in range(k):
        none *= np.maximum(wrong - i, 0) / (samples - i)
    return float(1 - none.mean())
