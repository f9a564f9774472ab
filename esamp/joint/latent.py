"""`latent`: coupling that survives divergence. Siblings draw from one low-discrepancy sequence wherever their deep states share a cell.

    before_sampling  cell of each row, from its deep state (or, as controls, from its tokens)
    CellDraw         u = frac(U_cell + visits of the cell / phi); token = F^-1(u)
    after_sampling   tokens for cells that are made of them

Every u alone is uniform, and a sample draws each of its tokens from another sequence, so it is an exact sample of the model.

Legend: B batch rows, R rows that draw a token here, H hidden size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from esamp.batch import BatchStep, NewRequest
from esamp.engine import adapter
from esamp.joint.cells import CellMap, LatentCells, PrefixCells, SuffixCells
from esamp.joint.codes import stable_hash
from esamp.joint.config import LatentConfig
from esamp.joint.random_bits import signed, uniform_at
from esamp.joint.row_draw import RowUniforms
from esamp.joint.sample_index import SampleIndices
from esamp.joint.visits import VisitCounts
from esamp.policy import StepPlan
from esamp.request_policy import RequestPolicy, row_index


@dataclass(frozen=True, slots=True)
class CellRequest:
    """A live request."""

    request_id: str
    group: str
    key: int
    """int64, of its own stream of random numbers."""
    prompt_length: int
    """Tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class CellDraw:
    """A RowDraw: forks at the next number of their cell's sequence, all other rows independently."""

    rows: Tensor
    """[R]"""
    requests: Sequence[CellRequest]
    """[R]"""
    cells: Sequence[int]
    """[R]"""
    num_generated_R: Tensor
    """[R] int64, tokens of each reply so far."""
    visits: VisitCounts
    fork_probability: float

    def uniforms(self, top_probability: Callable[[], Tensor]) -> RowUniforms:
        """See RowDraw."""
        device = self.num_generated_R.device
        key_R = torch.tensor([request.key for request in self.requests], dtype=torch.int64, device=device)
        independent_R = uniform_at(key_R, self.num_generated_R)
        is_fork = self._forks(top_probability)
        jointly = [
            self.visits.uniform(request.group, request.request_id, cell) if forks else -1.0
            for request, cell, forks in zip(self.requests, self.cells, is_fork, strict=True)
        ]
        jointly_R = torch.tensor(jointly, dtype=torch.float64, device=device)
        uniform_R = torch.where(jointly_R < 0, independent_R, jointly_R)
        return RowUniforms(uniform_R, torch.zeros_like(uniform_R))

    def _forks(self, top_probability: Callable[[], Tensor]) -> list[bool]:
        if self.fork_probability == 1:
            return [True] * len(self.requests)
        forks: list[bool] = (top_probability() < self.fork_probability).tolist()
        return forks

    def drawn(self, tokens_R: Tensor, remainder_R: Tensor) -> None:
        """Every token has a number of its own."""


class LatentPolicy(RequestPolicy[CellRequest]):
    """Joint draws per cell in one worker: a SamplingPolicy."""

    def __init__(self, config: LatentConfig, worker: Any) -> None:
        super().__init__(self._track_request)
        self.config = config
        self._indices = SampleIndices()
        self._visits = VisitCounts(config.seed)
        self._cells = build_cells(config, worker)
        self.source_layer = config.layer_of(adapter.num_layers(worker))
        if self.source_layer is not None:
            adapter.enable_source_layer(worker, self.source_layer)
        self._drawing: dict[int, CellRequest] = {}

    def follow(self, finished: set[str], new: list[NewRequest]) -> None:
        """See SamplingPolicy."""
        for request_id in finished:
            self._indices.remove(request_id)
            self._cells.forget(request_id)
            if (request := self.state_of(request_id)) is not None:
                self._visits.remove(request.group, request_id)
        super().follow(finished, new)

    def before_sampling(self, step: BatchStep, *, is_recording: bool) -> StepPlan:
        """Find the cell of every row that draws a token."""
        self._drawing = self.rows_of(step)
        if not self._drawing:
            self.intervene(step, None)
            return StepPlan()
        device = step.target_BH.device
        rows_R = row_index(list(self._drawing), device)
        self.intervene(step, rows_R)
        requests = list(self._drawing.values())
        state_BH = step.target_BH if self.source_layer is None else step.source_BH
        num_generated = [step.num_tokens[row] - request.prompt_length for row, request in self._drawing.items()]
        return StepPlan(
            row_draw=CellDraw(
                rows_R,
                requests,
                self._cells.cells([request.request_id for request in requests], state_BH[rows_R]),
                torch.tensor(num_generated, dtype=torch.int64).to(device, non_blocking=True),
                self._visits,
                self.config.fork_probability,
            )
        )

    def after_sampling(self, step: BatchStep, tokens_B: Tensor) -> None:
        """Tell the cells what was drawn."""
        if not self._drawing or isinstance(self._cells, LatentCells):
            return
        tokens = tokens_B.tolist()
        for row, request in self._drawing.items():
            self._cells.append(request.request_id, tokens[row])

    def _track_request(self, request: NewRequest) -> CellRequest | None:
        if request.is_greedy:
            return None
        sibling = self._indices.add(request)
        self._visits.add(sibling.group, request.request_id)
        key = signed(stable_hash("sample", self.config.seed, sibling.group, sibling.index))
        return CellRequest(request.request_id, sibling.group, key, len(request.prompt_token_ids))


def build_cells(config: LatentConfig, worker: Any) -> CellMap:
    """The cells that the config names."""
    if config.cells == "prefix":
        return PrefixCells()
    if config.cells == "suffix":
        return SuffixCells(config.suffix_tokens)
    _, hidden_size = adapter.logits_shape(worker)
    return LatentCells(
        bits=config.bits,
        centring=config.centring,
        hidden_size=hidden_size,
        seed=config.seed,
        device=worker.device,
    )
