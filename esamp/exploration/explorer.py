"""Exploratory Sampling inside one vLLM worker: the algorithm of arXiv:2604.24927, step by step.

    follow          requests come and go; groups gain and lose slots
    forward_pass    refresh -> predict, where the shallow state can be captured before the deep one
    before_sampling the same where it cannot; then fuse, before lm_head or after the filters
    after_sampling  learn from every decode row

Rows stay vanilla, and are not learned from, if they read the prompt (but see learns_prompt), are greedy, asked for beta 0, or belong to a
group without a slot. A row whose prediction is not finite, or whose slot diverged, stays vanilla too, and is counted.

Legend: B batch rows, R exploring rows, H hidden size, V vocabulary.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from esamp.batch import BatchRows, BatchStep, CapturedRows, NewRequest, PromptRows
from esamp.config import ESampConfig
from esamp.distiller.background import background_executor
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows, SourceRows
from esamp.distiller.interface import build_bank
from esamp.distiller.learner import Learner, build_learner
from esamp.distiller.predictors import OwnPrediction, Prediction, build_predictor
from esamp.distiller.prefetch import build_prefetcher
from esamp.distiller.prompt_groups import ExploringRequest, GroupTable
from esamp.distiller.warmup import build_warmup
from esamp.engine import adapter
from esamp.engine.adapter import SourceHook
from esamp.exploration.ended_rows import EndedRows
from esamp.exploration.request_reader import RequestReader
from esamp.exploration.row_plan import RowPlan
from esamp.exploration.step import ExploringStep
from esamp.exploration.weight_ages import WeightAges
from esamp.fusion.logit_adjustment import LogitAdjustment
from esamp.fusion.place import FusionPlace
from esamp.policy import Counters, SamplingPolicy, StepPlan, VanillaPolicy
from esamp.scope import SHARED_GROUP
from esamp.telemetry import PolicyMeasures

logger = logging.getLogger(__name__)

PROMPT_ROWS_AT_ONCE = 256
"""Least squares takes a matrix of this size squared for the rows of one training."""


class Explorer(SamplingPolicy):
    """Exploratory Sampling in one worker, beta > 0: a SamplingPolicy."""

    def __init__(self, config: ESampConfig, worker: Any) -> None:
        """Hooks the shallow layer and defers lm_head. Raises UnsupportedEngine."""
        self.config = config
        self.worker = worker
        self._counters = Counters()
        self._requests = RequestReader(config)
        self.source_layer = config.layer_of(adapter.num_layers(worker))
        adapter.enable_source_layer(worker, self.source_layer)
        adapter.check_head(worker)
        self.place = FusionPlace(config, worker)
        self.bank = build_bank(
            config,
            adapter.final_norm_weights(worker),
            num_slots=config.num_slots,
            head_weight_VH=self.place.head_weight_VH,
        )
        self.predictor = build_predictor(config, self.bank)
        self.warmup = build_warmup(config)
        self.background = background_executor(self.bank.device)
        self.learner: Learner | None = build_learner(config, self.bank, self.background)
        self._prefetcher = build_prefetcher(self.bank, self.background)
        self._source_hook = self._attach_source_hook()
        self.groups = GroupTable(config.num_slots, self._open_slot, self._close_slot)
        if config.distiller_scope.is_shared:
            # A request that never ends, so that the group keeps its slot between prompts, and the Distiller what it learned.
            self.groups.add(ExploringRequest("", SHARED_GROUP, config.beta))
        self._finite_total = torch.zeros((), dtype=torch.long, device=self.bank.device)
        self._ended = EndedRows() if adapter.schedules_ahead(worker) else None
        self._ended_total = torch.zeros((), dtype=torch.long, device=self.bank.device)
        self._plan: RowPlan | None = None
        self._prompts: list[PromptRows] = []
        self._step: ExploringStep | None = None

    @property
    def distillers(self) -> DistillerBank:
        """The bank, for a learner that moves weights. Raises TypeError if it holds no Distillers (prediction="running_mean")."""
        if not isinstance(self.bank, DistillerBank):
            raise TypeError(f"{type(self.bank).__name__} holds no Distillers.")
        return self.bank

    def use_learner(self, learner: Learner) -> None:
        """Let `learner` train this engine's bank (config.trainer == "actor"). Before the first request."""
        self.learner = learner

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """See SamplingPolicy."""
        if self._ended is not None:
            self._ended.follow(finished, new)
        for request_id in finished:
            self.groups.remove(request_id)
        for request in new:
            exploring = self._requests.read(request)
            if exploring is not None:
                self.groups.add(exploring)

    def expect_no_more(self, group: str | None) -> None:
        """See SamplingPolicy."""
        self.groups.expect_no_more(group)

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        """See SamplingPolicy: lm_head is deferred, and the source hook captures the shallow state."""
        with self.place.head.deferring():
            if self._source_hook is None:
                yield
            else:
                with self._source_hook.capturing():
                    yield

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Predict, then fuse in the cheapest place: before lm_head, on the candidates, or on whole rows."""
        # Read now: drawing clears the engine's outputs.
        self._prompts = adapter.read_prompts(self.worker, step) if self.config.learns_prompt else []
        self._step = self._explore(step)
        if self._step is None or self._step.adjustment is None:
            self.place.leave(step)
            return StepPlan()
        must_see_plain = is_recording and self.config.record == "full"
        return self.place.fuse(step, self._step.plan.requests, self._step.adjustment, must_see_plain=must_see_plain)

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """Learn from every exploring row of the step."""
        explored, self._step = self._step, None
        has_ended_B = None
        if self._ended is not None:
            has_ended_B = self._ended.before(step)
            self._ended.sampled(step, tokens_B)
        self._learn_prompts()
        if explored is None:
            return
        assert self.learner is not None
        hidden = explored.hidden
        if has_ended_B is not None:
            has_ended_R = has_ended_B[explored.plan.index]
            hidden = hidden.void(has_ended_R)
            self._ended_total += has_ended_R.sum()
        # After the draw, so that a token is always sampled with weights that have not learned from its own row.
        self.learner.learn(hidden, explored.forward)
        if self.config.trainer == "none":
            return
        self._counters.trained_rows += len(explored.plan.rows)
        self._counters.optimiser_steps += len(explored.plan.live_groups)

    def _learn_prompts(self) -> None:
        """Learn from what the step has read of prompts: each token once, from the first sibling that reads it."""
        assert self.learner is not None
        for prompt in self._prompts:
            request = self.groups.request(prompt.request_id)
            group = self.groups.group_with_slot(request) if request else None
            if group is None or group.slot is None:
                continue
            known = max(0, group.prompt_tokens_learned - prompt.first)
            for first in range(known, len(prompt.source_PH), PROMPT_ROWS_AT_ONCE):
                chunk = slice(first, first + PROMPT_ROWS_AT_ONCE)
                source_RH, target_RH = prompt.source_PH[chunk], prompt.target_PH[chunk]
                self.learner.learn(HiddenRows.of(source_RH, target_RH, (group.slot,) * len(source_RH)), None)
                # Lag is counted in trainings of the group.
                group.steps_seen += 1
                self._counters.trained_rows += len(source_RH)
                self._counters.optimiser_steps += 1
            group.prompt_tokens_learned = max(group.prompt_tokens_learned, prompt.first + len(prompt.source_PH))
        self._prompts = []

    def weights_changed(self) -> None:
        """See SamplingPolicy."""
        self.groups.expect_no_more()
        self.place.weights_changed()
        if self.learner is None:
            return  # no request has come yet
        # The background thread may still train the slots that are written to below.
        self.learner.refresh()
        self.bank.start_from(adapter.final_norm_weights(self.worker))
        if self.config.is_shared:
            self.groups.restart(SHARED_GROUP)

    def measures(self, step: BatchStep) -> PolicyMeasures:
        """Novelty |h - prediction| / |h|, loss, lag and version of the adjusted rows."""
        size = len(step.request_ids)
        if self._step is None:
            return PolicyMeasures.none(size, step.target_BH.device)
        return self._step.measures(size, self.bank.loss_S)

    def counters(self) -> Counters:
        """See SamplingPolicy; waits for the device. Logs a warning if a slot diverged."""
        diverged = int(self.bank.diverged_slots)
        if diverged > self._counters.diverged_slots:
            logger.warning(
                "esamp: %d Distiller slot(s) met non-finite numbers and stay vanilla until their group ends", diverged
            )
        self._counters.diverged_slots = diverged
        is_untrained = self.config.trainer == "none"
        return Counters(
            **{
                **asdict(self._counters),
                "dense_steps": self.place.dense_steps,
                "nonfinite_rows": self._counters.explored_rows - int(self._finite_total),
                "trained_rows": self._counters.trained_rows - (0 if is_untrained else int(self._ended_total)),
                "vanilla_groups": self.groups.vanilla_groups,
                "live_groups": len(self.groups),
                "rejected_requests": self._requests.rejected,
            }
        )

    def initial_gain(self) -> Tensor:
        """Output gain [H] that Distillers start from, fp32 on the host."""
        return adapter.final_norm_weights(self.worker).float().cpu()

    def _explore(self, step: BatchStep) -> ExploringStep | None:
        """Bring the weights up to date and predict the exploring rows; None if there are none."""
        if self.learner is None:
            raise RuntimeError(
                'trainer="actor" needs a learner before the first request: start the engine through actors.LLMShard, or use "local".'
            )
        prefetched = self._prefetcher.take()
        if prefetched is None:
            # A prefetched prediction was made after all training submitted before it; any other must wait for that training here.
            self.learner.refresh()
        plan = self._plan_of(step)
        if not plan.rows:
            return None
        hidden = HiddenRows(step.source_BH[plan.index], plan.batch, step.target_BH[plan.index])
        ages = WeightAges.after_one_more_step(plan.live_groups, self.learner, self.config)
        beta_R = plan.beta_R
        if not ages.are_trusted:
            self._counters.stale_rows += ages.stale_rows(plan, self.config.max_staleness)
            beta_R = ages.scale(plan)
            if not any(ages.shares):
                return ExploringStep(plan, hidden, ages, None, None)
        if prefetched is None:
            self._counters.late_predictions += 1
            prediction = self.predictor.predict(hidden)
        else:
            prediction = Prediction(prefetched.prediction_RH, prefetched)
        target_RH = hidden.target_RH.float()
        error_RH = target_RH - prediction.hidden_RH
        is_finite_R = torch.isfinite(error_RH.sum(-1))
        self._finite_total += is_finite_R.sum()
        self._counters.explored_rows += len(plan.rows)
        adjustment = LogitAdjustment(
            rows=plan.index,
            hidden_RH=target_RH,
            prediction_RH=prediction.hidden_RH,
            error_RH=error_RH,
            is_finite_R=is_finite_R,
            beta_R=self.warmup.scale(beta_R, self.bank, plan.slots_R),
        )
        return ExploringStep(plan, hidden, ages, adjustment, prediction.forward)

    def _attach_source_hook(self) -> SourceHook | None:
        """The hook on the shallow layer; None where the layers do not run one by one in Python."""
        if not SourceHook.can_capture(self.worker, self.source_layer):
            logger.info(
                "esamp: predictions wait for the end of each forward pass: the model's layers do not run one by one"
            )
            return None
        return SourceHook(self.worker, self.source_layer, self._prefetch)

    @property
    def captured(self) -> CapturedRows | None:
        """See SamplingPolicy."""
        return self._source_hook.captured if self._source_hook else None

    def _prefetch(self, captured: CapturedRows) -> None:
        """In the middle of the forward pass: start to predict."""
        if self.learner is None or not isinstance(self.predictor, OwnPrediction):
            return  # before_sampling raises on the first; the other predictors need the deep state
        self.learner.catch_up()
        plan = self._plan_of(captured.rows)
        if plan.rows:
            self._prefetcher.start(SourceRows(captured.source_BH[plan.index], plan.batch))

    def _plan_of(self, batch: BatchRows) -> RowPlan:
        if self._plan is None or not self._plan.describes(batch):
            self._plan = RowPlan.of(batch, self.groups, self.bank.device)
        return self._plan

    def _open_slot(self, slot: int, group: str) -> None:
        assert self.learner is not None
        self.learner.open(slot, group)

    def _close_slot(self, slot: int) -> None:
        assert self.learner is not None
        self.learner.close(slot)


def explorer_or_vanilla(config: ESampConfig, worker: Any) -> SamplingPolicy:
    """The policy of a config: with beta 0 the engine is vLLM as it is, to the last bit."""
    if config.trainer == "auto":
        config = replace(config, trainer="local")  # a run that has trainer actors says so before its engines start
    return Explorer(config, worker) if config.beta > 0 else VanillaPolicy()
