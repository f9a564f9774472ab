"""Novelty in latent space: how little least squares would know of the successor (deep state, token).

Features of a pair are the product of random projections of its two parts, the standardised deep state h with a constant and the token's
centred row of lm_head w: inner products of features are then, on average, (<h, h'> / H + 1) <w, w'> / H. Without the constant a state
equal to the mean, such as that of the only prompt so far, would make all of its successors alike.

For the pairs that a group has shown, P is the inverse of (ridge I + sum phi phi'). The score of a candidate is sqrt(phi' P phi) in units
of a pair never seen: a count-based bonus, 1 / sqrt(1 + n / ridge) after n visits of the same pair, that carries over to pairs alike. No
forward pass is needed.

Legend: S slots, A slots in a batch's range, M rows per slot (padded), R rows, K candidates, H hidden size, V vocabulary, D features.
"""

from typing import Any

import torch
from torch import Tensor

from esamp.distiller.hidden_rows import SlotBatch
from esamp.distiller.rls import StateScale, grouped
from esamp.engine import adapter
from esamp.engine.surface import UnsupportedEngine
from esamp.fork_bonus.config import NoveltyConfig
from esamp.fork_bonus.novelty_score import ForkRows


class SuccessorNovelty:
    """A NoveltyScore for `config.max_groups` groups."""

    def __init__(self, config: NoveltyConfig, head_weight_VH: Tensor) -> None:
        self._config = config
        self._head_weight_VH = head_weight_VH
        hidden_size, device = head_weight_VH.shape[1], head_weight_VH.device
        # Its own CPU generator: the global one draws the tokens of seedless requests, and every rank must get the same features.
        generator = torch.Generator().manual_seed(config.seed)
        with torch.inference_mode(False), torch.no_grad():
            self._of_state_HD, self._of_token_HD = (
                (torch.randn(hidden_size, config.features, generator=generator) / hidden_size**0.5).to(device)
                for _ in range(2)
            )
            self._constant_D = torch.randn(config.features, generator=generator).to(device)
            self._mean_token_H = head_weight_VH.float().mean(0)
            self._scale = StateScale(hidden_size, device)
            self.covariance_SDD = torch.zeros(config.max_groups, config.features, config.features, device=device)
            """P of each group."""

    @classmethod
    def of(cls, config: NoveltyConfig, worker: Any) -> "SuccessorNovelty":
        """For the model of this worker. Raises UnsupportedEngine unless lm_head is a plain matrix."""
        weight = adapter.plain_head_weight(worker)
        if weight is None:
            raise UnsupportedEngine(
                "novelty reads the rows of a plain, unquantised lm_head; this model has none. Use sampler=trie."
            )
        return cls(config, weight)

    @torch.no_grad()
    def open(self, slot: int) -> None:
        """See NoveltyScore."""
        identity_DD = torch.eye(self._config.features, device=self.covariance_SDD.device)
        self.covariance_SDD[slot] = identity_DD / self._config.ridge

    @torch.no_grad()
    def score(self, rows: ForkRows, token_RK: Tensor) -> Tensor:
        """See NoveltyScore."""
        phi_RKD = self._features(rows.hidden_RH, token_RK)
        covariance_RDD = self.covariance_SDD[torch.tensor(rows.slots, device=phi_RKD.device)]
        # Features have length 1, so that a pair never seen has phi' P phi = 1 / ridge.
        variance_RK = ((phi_RKD @ covariance_RDD) * phi_RKD).sum(-1) * self._config.ridge
        return variance_RK.clamp(0.0, 1.0).sqrt()

    @torch.no_grad()
    def observe(self, rows: ForkRows, tokens_R: Tensor) -> None:
        """See NoveltyScore: one Woodbury update of each group."""
        batch = SlotBatch.of(rows.slots, rows.hidden_RH.device)
        phi_RD = self._features(rows.hidden_RH, tokens_R.unsqueeze(1)).squeeze(1)
        self._scale.add(rows.hidden_RH.float())
        phi_AMD = grouped(phi_RD.nan_to_num(0.0), batch)
        P_ADD = self.covariance_SDD[batch.span]
        phiP_AMD = phi_AMD @ P_ADD
        identity_MM = torch.eye(phi_AMD.shape[1], device=phi_AMD.device)
        factor_AMM, _ = torch.linalg.cholesky_ex(identity_MM + phiP_AMD @ phi_AMD.mT)
        P_ADD = P_ADD - phiP_AMD.mT @ torch.cholesky_solve(phiP_AMD, factor_AMM)
        self.covariance_SDD[batch.span] = (P_ADD + P_ADD.mT) / 2

    def forget(self, request_id: str) -> None:
        """What a sibling has shown stays with its group."""

    def _features(self, hidden_RH: Tensor, token_RK: Tensor) -> Tensor:
        """[R, K, D] of length 1."""
        mean_H, inverse_scale_H = self._scale.mean_and_inverse_scale()
        state_RD = ((hidden_RH.float() - mean_H) * inverse_scale_H) @ self._of_state_HD + self._constant_D
        token_RKD = (self._head_weight_VH[token_RK].float() - self._mean_token_H) @ self._of_token_HD
        return torch.nn.functional.normalize(state_RD.unsqueeze(1) * token_RKD, dim=-1)
