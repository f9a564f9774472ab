"""`quasi`: joint draws with exact marginals (arithmetic sampling, arXiv:2210.15458, with golden-ratio codes).

    follow           a request gets the code of its index in its group
    before_sampling  plan: these rows are drawn at their codes
    CodedDraw        token = F^-1(u), u <- what is left of it

A code depends on the run's seed, the group and the index alone: preemption, a resumed run, an extension or another shard change no code.
Each sample alone is an exact sample of the model at the request's temperature and filters: its log-probabilities are the model's own.

Legend: B batch rows, R rows that draw a token here, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from esamp.batch import BatchStep, NewRequest
from esamp.engine import adapter
from esamp.joint.config import QuasiConfig
from esamp.joint.random_bits import uniform_at
from esamp.joint.row_draw import RowUniforms
from esamp.joint.sample_index import SampleIndices
from esamp.joint.sibling_table import SiblingTable, TrackedSibling
from esamp.joint.start import StartAtCodeFence, StartAtFork, StartAtToken, StartRows, StartRule
from esamp.policy import StepPlan
from esamp.request_policy import RequestPolicy, row_index


@dataclass(frozen=True, slots=True, eq=False)
class CodedDraw:
    """A RowDraw at the rows' codes."""

    rows: Tensor
    """[R]"""
    slots_R: Tensor
    """[R] rows of the table."""
    num_generated_R: Tensor
    """[R] int64, tokens of each reply so far."""
    table: SiblingTable
    rule: StartRule

    def uniforms(self, top_probability: Callable[[], Tensor]) -> RowUniforms:
        """See RowDraw: the code where it has started, an independent number before."""
        table, slots_R = self.table, self.slots_R
        rows = StartRows(table.has_started_S[slots_R], table.fence_S[slots_R], self.num_generated_R, top_probability)
        table.has_started_S[slots_R] = has_started_R = self.rule.starts(rows)
        # Two numbers a token: one for tokens drawn independently, and one for the lowest bits of what is left of a code.
        key_R, place_R = table.key_S[slots_R], 2 * self.num_generated_R
        return RowUniforms(
            torch.where(has_started_R, table.code_S[slots_R], uniform_at(key_R, place_R)),
            uniform_at(key_R, place_R + 1),
        )

    def drawn(self, tokens_R: Tensor, remainder_R: Tensor) -> None:
        """See RowDraw: a code that has started goes on with what is left of it."""
        table, slots_R = self.table, self.slots_R
        has_started_R = table.has_started_S[slots_R]
        table.code_S[slots_R] = torch.where(has_started_R, remainder_R, table.code_S[slots_R])
        if isinstance(self.rule, StartAtCodeFence):
            table.has_started_S[slots_R], table.fence_S[slots_R] = self.rule.track(
                has_started_R, table.fence_S[slots_R], tokens_R
            )


class QuasiPolicy(RequestPolicy[TrackedSibling]):
    """Joint draws in one worker: a SamplingPolicy."""

    def __init__(self, config: QuasiConfig, worker: Any) -> None:
        """Raises ValueError if start="code-fence" and the engine has no tokenizer."""
        super().__init__(self._track_sibling)
        self.config = config
        self._indices = SampleIndices()
        self._table = SiblingTable(config.seed, worker.device)
        self._rule = start_rule(config, worker)

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """See SamplingPolicy."""
        for request_id in finished:
            self._indices.remove(request_id)
            if (tracked := self.state_of(request_id)) is not None:
                self._table.remove(tracked)
        super().follow(finished, new)

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Every row that draws a token is drawn at its code."""
        tracked = self.rows_of(step)
        if not tracked:
            self.intervene(step, None)
            return StepPlan()
        device = step.target_BH.device
        rows_R = row_index(list(tracked), device)
        self.intervene(step, rows_R)
        num_generated = [step.num_tokens[row] - sibling.prompt_length for row, sibling in tracked.items()]
        return StepPlan(
            row_draw=CodedDraw(
                rows_R,
                row_index([sibling.slot for sibling in tracked.values()], device),
                torch.tensor(num_generated, dtype=torch.int64).to(device, non_blocking=True),
                self._table,
                self._rule,
            )
        )

    def _track_sibling(self, request: NewRequest) -> TrackedSibling | None:
        if request.is_greedy:
            return None
        return self._table.add(request, self._indices.add(request))


def start_rule(config: QuasiConfig, worker: Any) -> StartRule:
    """The rule that `config.start` names."""
    match config.start.split():
        case ["prompt"]:
            return StartAtToken(0)
        case ["first-fork"]:
            return StartAtFork(config.fork_probability)
        case ["code-fence"]:
            return StartAtCodeFence.of(adapter.token_texts(worker), worker.device)
        case ["token", number]:
            return StartAtToken(int(number))
    raise AssertionError(f"checked by QuasiConfig: {config.start}")
