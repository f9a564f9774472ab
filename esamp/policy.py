"""A sampling policy: anything that draws tokens in another way than vLLM does. One interface; ESamp is one, each baseline another.

    follow          requests come and go
    forward_pass    around the model's forward pass: a policy may work meanwhile
    before_sampling the forward pass is done: plan what the sampler does
    after_sampling  the tokens are drawn: learn

Telemetry and sampler are the same for all policies, so that their samples have the same columns.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from esamp.batch import BatchStep, CapturedRows, NewRequest
from esamp.fusion.logit_adjustment import FilteredLogitsProcessor
from esamp.joint.row_draw import RowDraw
from esamp.policy_config import PolicyConfig
from esamp.telemetry import PolicyMeasures


@dataclass(frozen=True, slots=True, eq=False)
class StepPlan:
    """What the sampler does in the coming step."""

    processor: FilteredLogitsProcessor | None = None
    """Changes the logits between filters and draw; None leaves them."""
    row_draw: RowDraw | None = None
    """Draws some rows in place of the engine; None leaves all to it."""
    sees_plain_model: bool = True
    """The logits the sampler gets are the plain model's; False if hidden states were mixed before the head."""


@dataclass(slots=True)
class Counters:
    """What an engine did since it started. A number that does not apply to a policy stays 0."""

    decode_rows: int = 0
    """Decode rows sampled, of all requests."""
    explored_rows: int = 0
    """Rows in whose draw the policy took part, or would have but for a prediction that was not finite."""
    nonfinite_rows: int = 0
    """Of those, rows that stayed vanilla because their prediction was not finite."""
    stale_rows: int = 0
    """Rows whose beta was lowered because their weights were old."""
    late_predictions: int = 0
    """Steps whose prediction could not be made while the forward pass ran, and made the draw wait."""
    dense_steps: int = 0
    """Steps whose candidates were too many to be projected alone, so that the whole vocabulary was."""
    unfused_steps: int = 0
    """Steps drawn in several passes over the logits: without the compiled kernel, on CUDA, or with settings that need vLLM's own draw."""
    trained_rows: int = 0
    """Rows learned from, or handed to the trainer."""
    optimiser_steps: int = 0
    """Training steps submitted, one per slot and decode step."""
    diverged_slots: int = 0
    """Slots whose training diverged (a gradient that is not finite); their groups stay vanilla from then on."""
    vanilla_groups: int = 0
    """Groups that found every slot taken and stayed vanilla."""
    live_groups: int = 0
    """Groups with requests right now."""
    rejected_requests: int = 0
    """Requests with unusable extra_args; they stayed vanilla."""


class SamplingPolicy(ABC):
    """State of a policy in one worker. A policy that only follows requests need not care about the forward pass."""

    @property
    def captured(self) -> CapturedRows | None:
        """Rows of the step whose forward pass has just ended, if `forward_pass` captured them; else the engine's own outputs are read."""
        return None

    @abstractmethod
    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """Requests that ended since the last step, then those that start: in this order, since a name may return."""

    def expect_no_more(self, group: str | None) -> None:  # noqa: B027 - a policy may keep nothing for siblings to come
        """Between two steps: this prompt group, or every group if None, ends with the requests that it has now."""

    def forward_pass(self) -> AbstractContextManager[None]:
        """Entered around the runner's forward pass, after `follow`."""
        return nullcontext()

    @abstractmethod
    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Plan the step. `is_recording`: telemetry of some of its rows was asked for."""

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:  # noqa: B027 - a policy may have nothing to learn
        """The step has drawn `tokens_B` [B] int32; rows with step.draws_token False are void."""

    def weights_changed(self) -> None:  # noqa: B027 - a policy may know nothing of the weights
        """The model has other weights from now on. Requests that come have groups of their own: see ESampWorker.esamp_reset."""

    @abstractmethod
    def measures(self, step: BatchStep) -> PolicyMeasures:
        """For telemetry; called between before_sampling and after_sampling."""

    @abstractmethod
    def counters(self) -> Counters:
        """What was done since the engine started; may wait for the device."""


class VanillaPolicy(SamplingPolicy):
    """vLLM as it is."""

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """Nothing to keep."""

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Nothing to change."""
        return StepPlan()

    def measures(self, step: BatchStep) -> PolicyMeasures:
        """Nothing took part."""
        return PolicyMeasures.none(len(step.request_ids), step.target_BH.device)

    def counters(self) -> Counters:
        """All 0."""
        return Counters()


def build_policy(config: PolicyConfig, worker: Any) -> SamplingPolicy:
    """The policy inside one vLLM worker whose model is loaded. Raises UnsupportedEngine, or ValueError if a model it needs cannot be
    used."""
    module, _, name = config.policy_factory.rpartition(".")
    policy: SamplingPolicy = getattr(import_module(module), name)(config, worker)
    return policy
