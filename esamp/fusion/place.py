"""Where a step's predictions are fused with the model's: in the cheapest of three places, which give the same tokens.

    before lm_head      nothing filters and nobody asks for the plain logits: hidden states are mixed, and projected once
    on the candidates   the filters leave few tokens: predictions are projected to those alone
    on whole rows       any other case: both hidden states are projected in one call

Legend: B batch rows, R exploring rows, H hidden size, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from esamp.batch import BatchStep
from esamp.config import ESampConfig
from esamp.distiller.prompt_groups import ExploringRequest
from esamp.engine import adapter
from esamp.engine.adapter import DeferredHead
from esamp.fusion.forms import ProposedFusion, build_fusion
from esamp.fusion.logit_adjustment import (
    CandidateAdjustment,
    CandidateSearch,
    CountedCandidates,
    DenseAdjustment,
    KnownCandidates,
    LogitAdjustment,
    mix_hidden,
)
from esamp.policy import StepPlan


class FusionPlace:
    """Runs lm_head in place of the engine, and fuses before, in or after it."""

    def __init__(self, config: ESampConfig, worker: Any) -> None:
        self.head = DeferredHead(worker)
        self.fusion = build_fusion(config)
        self.head_weight_VH = adapter.plain_head_weight(worker)
        """None if the head is no plain matrix: then candidates are not projected alone."""
        self.may_mix = not adapter.has_custom_logits_processors(worker)
        """Mix hidden states where nothing filters."""
        self.dense_steps = 0
        """As in Counters."""
        self._candidate_cap = config.candidate_cap
        self._worker = worker

    def weights_changed(self) -> None:
        """The model has other weights."""
        self.head_weight_VH = adapter.plain_head_weight(self._worker)

    def leave(self, step: BatchStep) -> None:
        """Project a step that nothing is fused in."""
        self.head.set_logits(self.head.project(step.target_BH))

    def fuse(
        self,
        step: BatchStep,
        requests: Sequence[ExploringRequest],
        adjustment: LogitAdjustment,
        *,
        must_see_plain: bool,
    ) -> StepPlan:
        """Project, and plan the rest. `requests` [R]; `must_see_plain`: the sampler is to get the plain model's logits."""
        is_unfiltered = self.may_mix and all(request.is_unfiltered for request in requests)
        if is_unfiltered and isinstance(self.fusion, ProposedFusion) and not must_see_plain:
            self.head.set_logits(self.head.project(mix_hidden(step.target_BH, adjustment, self.fusion)))
            return StepPlan(sees_plain_model=False)
        # Where nothing is filtered, every token is a candidate: there is no need to look for them.
        search = None if is_unfiltered else self._search(requests, step.target_BH.device)
        if search is not None and self.head_weight_VH is not None:
            self.head.set_logits(self.head.project(step.target_BH))
            processor = CandidateAdjustment(adjustment, self.fusion, search, self.head_weight_VH, self._project_all)
            return StepPlan(processor, sees_plain_model=must_see_plain)
        # One projection of both: lm_head is bound by reading its weights, so the second half is nearly free.
        self.dense_steps += 1
        size = step.target_BH.shape[0]
        both = torch.cat([step.target_BH, adjustment.prediction_RH.to(step.target_BH.dtype)])
        logits = self.head.project(both)
        self.head.set_logits(logits[:size])
        return StepPlan(DenseAdjustment(adjustment, self.fusion, logits[size:]), sees_plain_model=must_see_plain)

    def _search(self, requests: Sequence[ExploringRequest], device: torch.device) -> CandidateSearch | None:
        """How to find the candidates of these requests; None if they cannot be few."""
        cap = self._candidate_cap
        if device.type == "cpu":
            return CountedCandidates(cap)
        if all(0 < request.top_k <= cap for request in requests):
            return KnownCandidates(max(request.top_k for request in requests))
        return None

    def _project_all(self, hidden_RH: Tensor) -> Tensor:
        self.dense_steps += 1
        return self.head.project(hidden_RH)
