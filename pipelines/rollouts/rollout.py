"""A rollout: one sample as a trainer sees it, beside its siblings.

Legend: T response tokens, K kept tokens of all T draws together.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipelines.verifiers.verdict import VerdictStatus

TokenIds = npt.NDArray[np.int32]
Logprobs = npt.NDArray[np.float32]
Messages = list[dict[str, str]]
"""Chat messages, {"role", "content"} each."""


class VerdictClass(StrEnum):
    """What a verdict means for the reward."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    INFRASTRUCTURE = "infrastructure"
    """Generation, the verifier or its sandbox failed: nothing is known of the answer, so it has no reward."""
    UNVERIFIED = "unverified"
    """Nobody scored the answer, so it has no reward."""

    @property
    def has_reward(self) -> bool:
        """True if the score says something of the answer."""
        return self in (VerdictClass.CORRECT, VerdictClass.INCORRECT)


PROGRAM_LIMITS = (VerdictStatus.TIMEOUT, VerdictStatus.OUT_OF_MEMORY)
"""Of the code verifier these are limits of the task, which the program broke; of any other they are the verifier's own failure."""


def verdict_class(status: VerdictStatus, *, is_program: bool) -> VerdictClass:
    """The class of a verdict. `is_program`: the code verifier gave it.

    >>> verdict_class(VerdictStatus.TIMEOUT, is_program=True), verdict_class(VerdictStatus.TIMEOUT, is_program=False)
    (<VerdictClass.INCORRECT: 'incorrect'>, <VerdictClass.INFRASTRUCTURE: 'infrastructure'>)
    """
    if status is VerdictStatus.CORRECT:
        return VerdictClass.CORRECT
    if status is VerdictStatus.UNVERIFIED:
        return VerdictClass.UNVERIFIED
    if status in (VerdictStatus.ERROR, VerdictStatus.SANDBOX_ERROR) or (status in PROGRAM_LIMITS and not is_program):
        return VerdictClass.INFRASTRUCTURE
    return VerdictClass.INCORRECT


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptTokens:
    """The tokens that a filter (top-p, top-k, min-p) left at each draw."""

    token_ids: TokenIds
    """[K]"""
    offsets: TokenIds
    """[T + 1] draw t kept token_ids[offsets[t] : offsets[t + 1]]."""
    is_capped: bool
    """Some draw kept more tokens than the sampler stores: its range is empty."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rollout:
    """One sample."""

    sample_index: int
    """Place in launch order within the problem."""
    seed: int
    response: str
    """Text without special tokens."""
    response_token_ids: TokenIds
    """[T] with the end token, where the model drew one."""
    finish_reason: str
    """vLLM's word: "stop" or "length"; "error" where there is no sample."""
    behaviour_logprobs: Logprobs
    """[T] under the distribution that was sampled from: temperature, filters and fusion included."""
    sampling_logprobs: Logprobs | None
    """[T] under the plain model at the same temperature and on the same kept tokens; None where that is not known."""
    policy_logprobs: Logprobs
    """[T] under the plain model at temperature 1 without filters; NaN where the run did not record it."""
    kept_tokens: KeptTokens | None
    """None where no filter was on, or the sampler did not store them."""
    novelty: Logprobs
    """[T] NaN where the Distiller took no part."""
    distiller_version: str
    weight_version: str
    """Of the model."""
    status: VerdictStatus
    verdict_class: VerdictClass
    reward: float | None
    """The verifier's score; None where there is none (see VerdictClass)."""
    advantage: float | None = None
    """None until advantages are computed, and where none are wanted."""

    @property
    def is_truncated(self) -> bool:
        """True if the sample ended at its length limit."""
        return self.finish_reason == "length"

    @property
    def is_correct(self) -> bool:
        """True if the verifier called the answer correct."""
        return self.verdict_class is VerdictClass.CORRECT


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RolloutGroup:
    """The rollouts of one problem."""

    group_id: str
    """The problem's id."""
    index: int
    """Place of the problem in the dataset."""
    problem: str
    prompt: str
    """As the engine got it: the chat template, where there is one, is applied."""
    prompt_token_ids: TokenIds
    messages: Messages | None
    """What the chat template was applied to; None where the model was prompted with plain text."""
    question: str
    """The problem in its task's template: the content of the user's message."""
    answer: str
    """Reference answer."""
    size: int
    """Samples that the run planned of this problem."""
    is_complete: bool
    """Every planned sample was generated and has a reward, whether or not it is exported."""
    rollouts: tuple[Rollout, ...]
    """In launch order."""

    @property
    def is_mixed(self) -> bool:
        """True if rewards differ, so that advantages are not all 0."""
        return len({rollout.reward for rollout in self.rollouts if rollout.reward is not None}) > 1
