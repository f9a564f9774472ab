"""A sampling policy: anything that draws tokens in another way than vLLM does. One interface; ESamp is one, each baseline another.

    follow          requests come and go
    before_sampling the forward pass is done: what shall the sampler do?
    after_sampling  the tokens are drawn

Whatever the policy, telemetry and sampler are the same, so that samples of all of them have the same columns.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from esamp.engine.adapter import BatchStep, NewRequest
from esamp.logit_adjustment import FilteredLogitsProcessor
from esamp.telemetry import PolicyMeasures


@dataclass(frozen=True, slots=True, eq=False)
class StepPlan:
    """What the sampler shall do in the coming step."""

    processor: FilteredLogitsProcessor | None = None
    """What happens to the logits between filters and draw; None: nothing."""
    sees_plain_model: bool = True
    """The logits the sampler gets are the plain model's; False if hidden states were mixed before the head."""


@dataclass(slots=True)
class Counters:
    """What an engine did since it started. Numbers that a policy has no use for stay 0."""

    decode_rows: int = 0
    """Decode rows sampled, of all requests."""
    explored_rows: int = 0
    """Rows in whose draw the policy was to take part."""
    nonfinite_rows: int = 0
    """Of those, rows that stayed vanilla because their prediction was not finite."""
    stale_rows: int = 0
    """Rows whose beta was lowered because their weights were old."""
    late_predictions: int = 0
    """Steps whose prediction could not be made while the forward pass ran, and made the draw wait."""
    dense_steps: int = 0
    """Steps whose candidates were too many to be projected alone, so that the whole vocabulary was."""
    trained_rows: int = 0
    """Rows learned from, or handed to the trainer."""
    optimiser_steps: int = 0
    """Training steps asked for, one per slot and decode step."""
    diverged_slots: int = 0
    """Slots that met non-finite numbers of their own making and stayed vanilla from then on."""
    vanilla_groups: int = 0
    """Groups that found every slot taken and stayed vanilla."""
    live_groups: int = 0
    """Groups with requests right now."""
    rejected_requests: int = 0
    """Requests with unusable extra_args; they stayed vanilla."""


class SamplingPolicy(Protocol):
    """State of a policy in one worker."""

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """Requests that ended since the last step, then those that start: in this order, since a name may return."""

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Prepare the step. `is_recording`: telemetry of some of its rows was asked for."""
        ...

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """The step has drawn `tokens_B` [B]; rows with step.draws_token False are void."""

    def measures(self, step: BatchStep) -> PolicyMeasures:
        """For telemetry; called between before_sampling and after_sampling."""
        ...

    def counters(self) -> "Counters":
        """What was done since the engine started; may wait for the device."""
        ...


class VanillaPolicy:
    """vLLM as it is."""

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        pass

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        return StepPlan()

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        pass

    def measures(self, step: BatchStep) -> PolicyMeasures:
        return PolicyMeasures.none(len(step.request_ids), step.target_BH.device)

    def counters(self) -> Counters:
        return Counters()
