"""What the Distiller did to the distributions that samples were drawn from, token by token.

All of it is computed from a condition's logits and shifts (fused minus plain logits). Legend: P problems, N samples each, T longest sample,
V vocabulary, W rounds.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor

from esamp.devtools.lockstep.sampler import NO_TOKEN, LockstepSamples
from esamp.fusion.forms import entropy

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharpening:
    """The shifts split into a change of temperature and the rest, for each token that the Distiller took part in."""

    slope_PNT: Tensor
    """Slope of the shift against the plain logits, weighted by the plain probabilities: fused logits are (1 + slope) z + rest."""
    explained_PNT: Tensor
    """Share of the shift's variance that the slope explains, in [0, 1]."""
    plain_entropy_PNT: Tensor
    """Entropy of the plain distribution at temperature 1, nats."""
    fused_entropy_PNT: Tensor
    distance_PNT: Tensor
    """Total variation between both: the smallest share of draws that must differ."""
    centred_PNT: Tensor
    """Standard deviation of the shift over the vocabulary, every token counting alike."""


def sharpening(samples: LockstepSamples) -> Sharpening:
    """Of every token; NaN where the Distiller took no part."""
    z, shift = samples.logits_PNTV.float(), samples.shifts_PNTV.float()
    p, q = z.softmax(-1), (z + shift).softmax(-1)
    dz = z - (p * z).sum(-1, keepdim=True)
    ds = shift - (p * shift).sum(-1, keepdim=True)
    covariance, var_z, var_s = (p * dz * ds).sum(-1), (p * dz**2).sum(-1), (p * ds**2).sum(-1)
    return Sharpening(
        slope_PNT=covariance / var_z,
        explained_PNT=covariance**2 / (var_z * var_s),
        plain_entropy_PNT=flat_entropy(z),
        fused_entropy_PNT=flat_entropy(z + shift),
        distance_PNT=(p - q).abs().sum(-1) / 2,
        centred_PNT=shift.std(-1),
    )


def flat_entropy(z_PNTV: Tensor) -> Tensor:
    """Entropy [P, N, T]; NaN stays NaN."""
    return entropy(z_PNTV.flatten(0, 2)).view(z_PNTV.shape[:-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Visits:
    """How siblings of earlier rounds continued the same prefix."""

    seen_PNT: npt.NDArray[np.int64]
    """Siblings of earlier rounds that had the prefix; -1 where there is no token, in the first round, and at the first token."""
    pull_PNT: Array
    """Mean shift on the tokens these siblings went on with, less what is expected of draws from the distributions they were drawn
    from: negative if the Distiller moves away from the tokens they happened to take; NaN if there are none."""


def visits(samples: LockstepSamples, rounds: int) -> Visits:
    """Of every token."""
    tokens = samples.tokens_PNT.numpy()
    shift = samples.shifts_PNTV.float().nan_to_num(0.0)
    drawn_from = (samples.logits_PNTV.float() + shift).softmax(-1).numpy()
    seen = np.full(tokens.shape, -1)
    pull = np.full(tokens.shape, np.nan)
    per_round = tokens.shape[1] // rounds
    for problem in range(tokens.shape[0]):
        siblings: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for round_ in range(rounds):
            rows = range(round_ * per_round, (round_ + 1) * per_round)
            sequences = {n: [int(token) for token in tokens[problem, n] if token != NO_TOKEN] for n in rows}
            for n, sequence in sequences.items():
                for t in range(1, len(sequence) if round_ else 0):
                    before = siblings.get(tuple(sequence[:t]), [])
                    seen[problem, n, t] = len(before)
                    if before:
                        s = shift[problem, n, t].numpy()
                        taken = s[tokens[problem, before, t]]
                        pull[problem, n, t] = (taken - drawn_from[problem, before, t] @ s).mean()
            for n, sequence in sequences.items():
                for t in range(1, len(sequence)):
                    siblings[tuple(sequence[:t])].append(n)
    return Visits(seen_PNT=seen, pull_PNT=pull)


def auc_within_places(score_PNT: Array, label_PNT: npt.NDArray[np.bool_], counted_PNT: npt.NDArray[np.bool_]) -> float:
    """Chance that the score of a token with the label is above that of one without, both at the same position of the same problem's
    samples; positions weigh by their pairs. 0.5 is chance; NaN without a pair.

    Within positions, since early tokens are both visited more often and predicted better.
    """
    above, pairs = 0.0, 0
    for problem in range(score_PNT.shape[0]):
        for t in range(score_PNT.shape[2]):
            counted = counted_PNT[problem, :, t]
            scores, labels = score_PNT[problem, counted, t], label_PNT[problem, counted, t]
            positive, negative = int(labels.sum()), int((~labels).sum())
            if positive and negative:
                above += rankdata(scores)[labels].sum() - positive * (positive + 1) / 2
                pairs += positive * negative
    return above / pairs if pairs else float("nan")


def first_divergence(tokens_a_PNT: Tensor, tokens_b_PNT: Tensor) -> npt.NDArray[np.int64]:
    """Place [P, N] of the first token in which a sample differs between two conditions with the same random numbers; -1 if in none."""
    differs = (tokens_a_PNT != tokens_b_PNT).numpy()
    return np.where(differs.any(-1), differs.argmax(-1), -1)


def mean_of(values: Tensor | Array) -> float:
    """Mean over what is not NaN."""
    return float(torch.as_tensor(values).nanmean())
