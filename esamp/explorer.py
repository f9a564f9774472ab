"""Exploratory Sampling inside one vLLM worker: the algorithm of arXiv:2604.24927, step by step.

    follow          requests come and go; groups gain and lose slots
    before_sampling refresh -> predict -> project -> hand the sampler what to fuse
    after_sampling  learn from every decode row; record what was asked for

Rows stay vanilla, and are not learned from, if they read the prompt, are greedy, asked for beta 0, or belong to a group without a
slot. A row whose prediction is not finite stays vanilla too, and is counted.

Legend: B batch rows, R exploring rows, H hidden size, V vocabulary.
"""

import hashlib
import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from esamp import vllm_adapter
from esamp.config import ESampConfig
from esamp.distiller import DistillerBank, HiddenRows
from esamp.fusion import stale_beta
from esamp.groups import ExploringRequest, GroupTable
from esamp.learner import Learner, LocalLearner, StreamLearner, SyncLearner
from esamp.sampler import GREEDY_TEMPERATURE, Draw, Intervention
from esamp.telemetry import RecordedStep, TelemetryBook
from esamp.vllm_adapter import BatchStep, NewRequest

logger = logging.getLogger(__name__)

GROUP_KEY = "esamp_group"
"""extra_args key: name of the request's prompt group (str). Default: a hash of the prompt's tokens."""
BETA_KEY = "esamp_beta"
"""extra_args key: beta of this request (float >= 0). Default: the engine's."""
RECORD_KEY = "esamp_record"
"""extra_args key: name (str) to record this request's tokens under, until they are popped."""


@dataclass(slots=True)
class Counters:
    """What the engine did since it started."""

    decode_rows: int = 0
    """Decode rows sampled, of all requests."""
    explored_rows: int = 0
    """Decode rows handed to the Distiller with beta > 0."""
    nonfinite_rows: int = 0
    """Of those, rows that stayed vanilla because their prediction was not finite."""
    stale_rows: int = 0
    """Rows whose beta was lowered because their weights were old."""
    trained_rows: int = 0
    """Rows learned from, or handed to the trainer."""
    optimiser_steps: int = 0
    """Training steps asked for, one per slot and decode step."""
    rejected_requests: int = 0
    """Requests whose esamp_beta was no number >= 0; they stayed vanilla."""


@dataclass(frozen=True, slots=True)
class ExploringRow:
    """One decode row with a Distiller."""

    row: int
    slot: int
    beta: float
    lag: int
    version: str


@dataclass(frozen=True, slots=True)
class Steering:
    """The Distillers' predictions for the rows they steer in one step."""

    rows: list[ExploringRow]
    rows_R: Tensor
    """[R] batch row of each."""
    prediction_RH: Tensor
    """[R, H] fp32; zeros where the prediction was not finite."""
    finite_R: Tensor
    """[R] False where it was not: the row stays vanilla."""


def group_of_prompt(prompt_token_ids: tuple[int, ...]) -> str:
    """Name of the group of requests that gave none: the same prompt, the same group."""
    text = ",".join(map(str, prompt_token_ids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Explorer:
    """State of Exploratory Sampling in one worker."""

    def __init__(self, config: ESampConfig, worker: Any) -> None:
        """Checks the engine, taps the shallow layer and takes the sampler's place. Raises UnsupportedEngine."""
        self.config = config
        self.worker = worker
        self.counters = Counters()
        self.telemetry = TelemetryBook()
        self._record_tags: dict[str, str] = {}
        self._step: BatchStep | None = None
        self._rows: list[ExploringRow] = []
        self._steering: Steering | None = None
        vllm_adapter.check_worker(worker)
        self.sampler = vllm_adapter.install_sampler(worker)
        self.is_exploring = config.beta > 0
        if not self.is_exploring:
            logger.info("esamp: beta is 0, this engine samples as vLLM ships it")
            return
        vllm_adapter.enable_source_layer(worker, config.source_layer)
        gain_H = vllm_adapter.final_norm_weights(worker)
        self.bank = DistillerBank(config, gain_H, num_slots=config.max_groups, device=gain_H.device)
        self._nonfinite_total = torch.zeros((), dtype=torch.long, device=gain_H.device)
        self.learner: Learner | None = None
        if config.trainer == "sync":
            self.learner = SyncLearner(self.bank)
        elif config.trainer == "local":
            self.learner = StreamLearner(self.bank) if gain_H.is_cuda else LocalLearner(self.bank)
        self.groups = GroupTable(config.max_groups, self._open_slot, self._close_slot)

    def use_learner(self, learner: Learner) -> None:
        """Let `learner` train this engine's bank (config.trainer == "actor"). Before the first request."""
        self.learner = learner

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """Requests that ended since the last step, then those that start: in this order, since a name may return."""
        for request_id in finished:
            self._record_tags.pop(request_id, None)
            if self.is_exploring:
                self.groups.remove(request_id)
        for request in new:
            if RECORD_KEY in request.extra_args:
                self._record_tags[request.request_id] = request.extra_args[RECORD_KEY]
            beta = self._beta_of(request)
            if beta > 0 and request.temperature >= GREEDY_TEMPERATURE:
                group = request.extra_args.get(GROUP_KEY) or group_of_prompt(request.prompt_token_ids)
                self.groups.add(ExploringRequest(request.request_id, group, beta))

    def before_sampling(self, step: BatchStep) -> None:
        """Predict, project and hand the sampler its intervention."""
        self._step = step
        self.counters.decode_rows += sum(step.is_decode)
        self.sampler.is_recording = any(request_id in self._record_tags for request_id in step.request_ids)
        self._rows = self._exploring_rows(step)
        self._steering = self._predict(step, [row for row in self._rows if row.beta > 0])
        self.sampler.intervention = self._intervention(self._steering) if self._steering else None

    def after_sampling(self) -> None:
        """Learn from every exploring row of the step, and record the rows that asked for it."""
        assert self._step is not None
        if self.sampler.draw is not None:
            self._record(self._step, self.sampler.draw)
        if self._rows:
            assert self.learner is not None
            rows_R = torch.tensor([row.row for row in self._rows], device=self._step.target_BH.device)
            slots = tuple(row.slot for row in self._rows)
            self.learner.learn(HiddenRows(self._step.source_BH[rows_R], self._step.target_BH[rows_R], slots))
            self.counters.trained_rows += len(slots)
            self.counters.optimiser_steps += len(set(slots))
        self.sampler.intervention = self._steering = self._step = None

    def read_counters(self) -> dict[str, int]:
        """All counters, as plain numbers; waits for the device."""
        counters = {name: getattr(self.counters, name) for name in Counters.__dataclass_fields__}
        counters["nonfinite_rows"] = self._nonfinite_total.item() if self.is_exploring else 0
        counters["vanilla_groups"] = self.groups.vanilla_groups if self.is_exploring else 0
        counters["live_groups"] = len(self.groups) if self.is_exploring else 0
        return counters

    def initial_gain(self) -> Tensor:
        """Output gain [H] that Distillers start from, fp32 on the host."""
        return vllm_adapter.final_norm_weights(self.worker).float().cpu()

    def _beta_of(self, request: NewRequest) -> float:
        beta = request.extra_args.get(BETA_KEY, self.config.beta)
        if not self.is_exploring:
            return 0.0
        if not isinstance(beta, int | float) or not math.isfinite(beta) or beta < 0:
            self.counters.rejected_requests += 1
            logger.warning(
                "esamp: request %s stays vanilla: esamp_beta must be a finite number >= 0; got %r",
                request.request_id,
                beta,
            )
            return 0.0
        return beta

    def _exploring_rows(self, step: BatchStep) -> list[ExploringRow]:
        if not self.is_exploring:
            return []
        if self.learner is None:
            raise RuntimeError(
                'trainer="actor" needs a learner before the first request: start the engine through actors.LLMShard, or use "local".'
            )
        self.learner.refresh()
        seen: set[str] = set()
        rows = []
        for row, request_id in enumerate(step.request_ids):
            request = self.groups.request(request_id) if step.is_decode[row] else None
            group = self.groups.group_at_decode(request) if request else None
            if request is None or group is None or group.slot is None:
                continue
            if group.name not in seen:
                seen.add(group.name)
                group.steps_seen += 1
            incarnation, steps = self.learner.version(group.slot)
            lag = group.steps_seen - steps
            beta = (
                stale_beta(request.beta, lag, self.config.max_staleness) if steps >= self.config.warmup_steps else 0.0
            )
            self.counters.stale_rows += steps >= self.config.warmup_steps and beta < request.beta
            rows.append(ExploringRow(row, group.slot, beta, lag, f"{incarnation}:{steps}"))
        return rows

    def _predict(self, step: BatchStep, rows: list[ExploringRow]) -> Steering | None:
        if not rows:
            return None
        rows_R = torch.tensor([row.row for row in rows], device=step.target_BH.device)
        prediction_RH = self.bank.predict(step.source_BH[rows_R], tuple(row.slot for row in rows))
        finite_R = torch.isfinite(prediction_RH.sum(-1))
        self.counters.explored_rows += len(rows)
        self._nonfinite_total += (~finite_R).sum()
        return Steering(rows, rows_R, torch.where(finite_R.unsqueeze(1), prediction_RH, 0.0), finite_R)

    def _intervention(self, steering: Steering) -> Intervention:
        beta_R = torch.tensor([row.beta for row in steering.rows], device=steering.rows_R.device)
        return Intervention(
            rows_R=steering.rows_R,
            z_dist_RV=vllm_adapter.project_to_vocabulary(self.worker, steering.prediction_RH),
            beta_R=torch.where(steering.finite_R, beta_R, 0.0),
        )

    def _record(self, step: BatchStep, draw: Draw) -> None:
        size = len(step.request_ids)
        measures_5B = torch.full((5, size), torch.nan, device=step.target_BH.device)
        measures_5B[0], measures_5B[1], measures_5B[2] = draw.behaviour_logprobs_B, draw.policy_logprobs_B, 0.0
        lags, versions = [-1] * size, [""] * size
        if self._steering is not None:
            rows_R = self._steering.rows_R
            slots_R = torch.tensor([row.slot for row in self._steering.rows], device=rows_R.device)
            target_RH = step.target_BH[rows_R].float()
            error_RH = target_RH - self._steering.prediction_RH
            measures_5B[2, rows_R] = self._steering.finite_R.float()
            measures_5B[3, rows_R] = error_RH.norm(dim=-1) / target_RH.norm(dim=-1)
            measures_5B[4, rows_R] = self.bank.loss_S[slots_R]
            for row in self._steering.rows:
                lags[row.row], versions[row.row] = row.lag, row.version
        kept = [b for b in range(size) if step.draws_token[b] and step.request_ids[b] in self._record_tags]
        self.telemetry.append(
            RecordedStep(
                tags=tuple(self._record_tags[step.request_ids[b]] for b in kept),
                measures_5B=measures_5B[:, kept],
                lags=tuple(lags[b] for b in kept),
                versions=tuple(versions[b] for b in kept),
            )
        )

    def _open_slot(self, slot: int, group: str) -> None:
        assert self.learner is not None
        self.learner.open(slot, group)

    def _close_slot(self, slot: int) -> None:
        assert self.learner is not None
        self.learner.close(slot)
