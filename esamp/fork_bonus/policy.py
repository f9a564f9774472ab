"""A bonus at forks inside one vLLM worker.

    before_sampling  rows of groups with a slot
    ForkBonus        z'(a) = z(a) + beta (u(a) - E_pi u) for the likely candidates a of rows that are unsure
    after_sampling   observe what was drawn

Legend: B batch rows, R rows that may fork, K candidates, V vocabulary, H hidden size.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from esamp.batch import BatchStep, NewRequest
from esamp.distiller.prompt_groups import ExploringRequest, GroupTable
from esamp.fork_bonus.config import ForkBonusConfig, NoveltyConfig, TrieConfig
from esamp.fork_bonus.novelty_score import ForkRows, NoveltyScore
from esamp.fork_bonus.successor_novelty import SuccessorNovelty
from esamp.fork_bonus.token_trie import TokenTrie
from esamp.joint.inverse_cdf import top_probability
from esamp.policy import Counters, StepPlan
from esamp.request_args import GROUP_SIZE_KEY, group_of
from esamp.request_policy import RequestPolicy, row_index


@dataclass(frozen=True, slots=True, eq=False)
class ForkBonus:
    """A FilteredLogitsProcessor: new successors gain, known ones lose, on average over the model's own distribution nothing."""

    rows_R: Tensor
    """[R] batch row of each."""
    rows: ForkRows
    novelty: NoveltyScore
    config: ForkBonusConfig

    def __call__(self, logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
        z_RV = logits_BV[self.rows_R]
        z_RK, token_RK = z_RV.topk(min(self.config.candidates, z_RV.shape[1]), dim=-1)
        is_candidate_RK = ~torch.isneginf(z_RK)
        score_RK = self.novelty.score(self.rows, token_RK)
        p_RK = z_RK.softmax(-1)
        # Where something is not finite (a broken state) the row stays the model's.
        bonus_RK = (self.config.beta * (score_RK - (p_RK * score_RK).sum(-1, keepdim=True))).nan_to_num(0.0)
        is_fork_R1 = (top_probability(z_RV) < self.config.fork_probability).unsqueeze(1)
        changed_RK = torch.where(is_fork_R1 & is_candidate_RK, z_RK + bonus_RK, z_RK)
        logits_BV[self.rows_R] = z_RV.scatter(1, token_RK, changed_RK)
        return logits_BV


class ForkBonusPolicy(RequestPolicy[ExploringRequest]):
    """Bonuses of one kind: a SamplingPolicy."""

    def __init__(self, config: ForkBonusConfig, worker: Any, novelty: NoveltyScore) -> None:
        super().__init__(self._track_request)
        self.config = config
        self._novelty = novelty
        self._groups = GroupTable(config.max_groups, lambda slot, name: novelty.open(slot), lambda slot: None)
        self._rows: ForkRows | None = None
        self._rows_R: Tensor | None = None

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """See SamplingPolicy."""
        for request_id in finished:
            self._groups.remove(request_id)
            self._novelty.forget(request_id)
        super().follow(finished, new)

    def expect_no_more(self, group: str | None) -> None:
        """See SamplingPolicy."""
        self._groups.expect_no_more(group)

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Plan a bonus for every row whose group has a slot."""
        tracked = {
            row: (request, group)
            for row, request in self.rows_of(step).items()
            if (group := self._groups.group_with_slot(request)) is not None
        }
        self._rows = None
        if not tracked:
            self.intervene(step, None)
            return StepPlan()
        self._rows_R = row_index(list(tracked), step.target_BH.device)
        self._rows = ForkRows(
            tuple(request.request_id for request, _ in tracked.values()),
            tuple(group.name for _, group in tracked.values()),
            tuple(group.slot for _, group in tracked.values() if group.slot is not None),
            step.target_BH[self._rows_R],
        )
        self.intervene(step, self._rows_R)
        return StepPlan(ForkBonus(self._rows_R, self._rows, self._novelty, self.config))

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """See SamplingPolicy."""
        if self._rows is not None and self._rows_R is not None:
            self._novelty.observe(self._rows, tokens_B[self._rows_R].long())

    def counters(self) -> Counters:
        """See SamplingPolicy."""
        counters = asdict(super().counters())
        return Counters(**{**counters, "vanilla_groups": self._groups.vanilla_groups, "live_groups": len(self._groups)})

    def _track_request(self, request: NewRequest) -> ExploringRequest | None:
        size = request.extra_args.get(GROUP_SIZE_KEY, 1)
        if type(size) is not int or size < 1:
            raise ValueError(f"{GROUP_SIZE_KEY} must be an int >= 1; got {size!r}")
        if request.is_greedy or self.config.beta == 0:
            return None
        tracked = ExploringRequest(request.request_id, group_of(request), self.config.beta, group_size=size)
        self._groups.add(tracked)
        return tracked


def novelty_policy(config: NoveltyConfig, worker: Any) -> ForkBonusPolicy:
    """Bonuses for successors that are new in latent space."""
    return ForkBonusPolicy(config, worker, SuccessorNovelty.of(config, worker))


def trie_policy(config: TrieConfig, worker: Any) -> ForkBonusPolicy:
    """Bonuses for tokens that no sibling drew after the same tokens."""
    return ForkBonusPolicy(config, worker, TokenTrie())
