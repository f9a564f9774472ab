"""The Distiller: predicts a model's deep hidden state from a shallow one, and learns while the model decodes.

A `DistillerBank` holds S independent Distillers ("slots"), one per prompt group, in one tensor: slot s is row s of `theta_SP`.
Two guarantees: data of one slot never changes a bit of another, and a slot that was reset equals a new one.

Network (arXiv:2604.24927, section 5.1 and appendix E.2), for one slot:

    h_0     = x / rms(x)
    h_{b+1} = h_b + D_b ( U_b h_b * silu(G_b h_b) )        b = 0 .. N-1
    f(x)    = gain * h_N

The paper leaves the norms open. The input norm has no parameters: raw residual streams have outlier channels. The output gain is
per channel and learned; it starts at the weights of the model's final norm, so that an untrained f already has the scale of y.

Legend: S slots, R rows, A slots in a batch's range, M rows per slot (padded), N blocks, H hidden size, F inner width, P parameters of
one slot.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from esamp.config import ESampConfig
from esamp.distiller.hidden_rows import HiddenRows, SlotBatch, SourceRows
from esamp.distiller.math import arithmetic_on, split


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where each parameter of a slot lies in its flat row."""

    hidden_size: int
    inner_width: int
    num_blocks: int

    @property
    def num_parameters(self) -> int:
        """P: entries of a slot's flat row. U and G, D, and the gain follow one another: see math.split."""
        return 3 * self.num_blocks * self.inner_width * self.hidden_size + self.hidden_size

    def split(self, flat_SP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As math.split."""
        return split(flat_SP, self.hidden_size, self.inner_width, self.num_blocks)


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """What a bank computed to predict some rows: the prediction, and the activations that training on the same rows reuses."""

    prediction_RH: Tensor
    """[R, H] fp32; NaN where the slot diverged."""
    prediction_AMH: Tensor | None = None
    """The same, grouped by slot. This and what follows: of a bank that learns by gradients."""
    output_AMH: Tensor | None = None
    """h_N"""
    saved: tuple[Tensor, ...] = ()
    """See math.SAVED_PER_BLOCK."""


@dataclass(frozen=True, slots=True, eq=False)
class SlotViews:
    """A batch's part of a bank, as math.descend takes it."""

    batch: SlotBatch
    state: list[Tensor]
    per_slot: list[list[list[Tensor]]]
    live: list[int]


class DistillerBank:
    """S Distillers with their Adam moments and step counts, fp32, on one device: 4 numbers per parameter and slot.

    Not thread-safe: training and prediction must take turns (see esamp.distiller.learner).
    """

    def __init__(self, config: ESampConfig, output_gain_H: Tensor, *, num_slots: int, device: torch.device) -> None:
        """`output_gain_H` [H]: initial output gain, the weights of the model's final norm."""
        self.config = config
        self.layout = SlotLayout(output_gain_H.shape[0], config.inner_width, config.num_blocks)
        self._arithmetic = arithmetic_on(device.type)
        self._optimiser = [
            config.clip_norm,
            config.learning_rate,
            config.adam_beta1,
            config.adam_beta2,
            config.adam_eps,
        ]
        self._views: SlotViews | None = None
        # vLLM calls its workers in inference mode; tensors made there could not be updated by a training thread outside it.
        with torch.inference_mode(False), torch.no_grad():
            self._initial_P = self._draw_initial_weights(output_gain_H).to(device)
            self.theta_SP = self._initial_P.repeat(num_slots, 1)
            self.gradient_SP = torch.zeros_like(self.theta_SP)
            self.first_moment_SP = torch.zeros_like(self.theta_SP)
            self.second_moment_SP = torch.zeros_like(self.theta_SP)
            self.steps_S = torch.zeros(num_slots, device=device)
            """[S] optimiser steps of each slot since its reset, fp32. On the device: reading it must not stall a decode step."""
            self.loss_S = torch.full((num_slots,), torch.nan, device=device)
            """[S] loss per hidden channel that the latest training found before its step; NaN before the first."""
            self.relative_error_S = torch.full((num_slots,), torch.nan, device=device)
            """[S] |y - f(x)|^2 / |y|^2 over the rows of the latest training; 1 is what predicting zero would give."""
            self.diverged_slots = torch.zeros((), dtype=torch.long, device=device)
            """int64 scalar: times that finite rows gave a slot a non-finite gradient. Such a slot predicts NaN until its reset."""

    @property
    def device(self) -> torch.device:
        """Where the slots are."""
        return self.theta_SP.device

    @property
    def num_bytes(self) -> int:
        """Memory of all slots: weights, gradients and two moments."""
        return 4 * self.theta_SP.nbytes

    @property
    def num_slots(self) -> int:
        """S."""
        return self.theta_SP.shape[0]

    def _draw_initial_weights(self, output_gain_H: Tensor) -> Tensor:
        # Its own CPU generator: the global one draws the tokens of seedless requests, and every rank must get the same weights.
        generator = torch.Generator().manual_seed(self.config.seed)
        flat_P = torch.empty(self.layout.num_parameters)
        flat_P.normal_(std=self.config.init_scale, generator=generator)
        flat_P[-self.layout.hidden_size :] = output_gain_H.float().cpu()
        return flat_P

    @torch.no_grad()
    def reset(self, slot: int) -> None:
        """Give `slot` its initial weights, zero moments and no history."""
        self.theta_SP[slot].copy_(self._initial_P)
        self.first_moment_SP[slot].zero_()
        self.second_moment_SP[slot].zero_()
        self.steps_S[slot] = 0
        self.loss_S[slot] = torch.nan
        self.relative_error_S[slot] = torch.nan

    @torch.no_grad()
    def start_from(self, output_gain_H: Tensor) -> None:
        """The model has other weights: slots that are reset from now on start from this output gain [H]."""
        self._initial_P.copy_(self._draw_initial_weights(output_gain_H))

    @torch.no_grad()
    def load(self, slot: int, weights_P: Tensor, *, steps: int, loss: float, relative_error: float) -> None:
        """Replace the weights of `slot` [P] by ones trained elsewhere: `steps` optimiser steps; the rest as in `loss_S` and
        `relative_error_S`."""
        self.theta_SP[slot].copy_(weights_P)
        self.steps_S[slot] = steps
        self.loss_S[slot] = loss
        self.relative_error_S[slot] = relative_error

    @torch.no_grad()
    def predict(self, rows: SourceRows) -> Forward:
        """Predict the deep state of each row by the Distiller of its slot. A row that is not finite counts as zero, and so is its
        prediction."""
        batch = rows.batch
        prediction_RH, prediction_AMH, output_AMH, saved = self._arithmetic.predict_rows(
            rows.source_RH,
            batch.index_AM,
            batch.is_aligned,
            self.theta_SP[batch.span],
            self.layout.inner_width,
            self.layout.num_blocks,
        )
        return Forward(prediction_RH, prediction_AMH, output_AMH, tuple(saved))

    @torch.no_grad()
    def train(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """One optimiser step of every slot that has rows; `loss_S` then holds the loss each had before its step.

        Loss of slot s (Eq. 10): mean over its rows of |y - f(x)|^2. The gradient is clipped per slot, then Adam (arXiv:1412.6980).
        Rows with a non-finite number do not count; a slot left without rows, or with a non-finite gradient, takes no step.
        `forward`: what `predict` gave for these very rows with the present weights, if it was asked; training goes on from there.
        """
        self._learn(rows, forward or self.predict(rows), self._views_of(rows.batch))

    def _learn(self, rows: HiddenRows, forward: Forward, slots: SlotViews) -> None:
        self._arithmetic.learn_rows(
            forward.prediction_AMH,
            forward.output_AMH,
            list(forward.saved),
            rows.source_RH,
            rows.target_RH,
            rows.batch.index_AM,
            rows.batch.is_aligned,
            slots.state,
            slots.per_slot,
            slots.live,
            self.layout.inner_width,
            self._optimiser,
        )

    def _views_of(self, batch: SlotBatch) -> SlotViews:
        # The same object as long as the same requests are decoded.
        if self._views is None or self._views.batch is not batch:
            live = [a for a, num_rows in enumerate(batch.num_rows_A) if num_rows > 0]
            matrices = (self.theta_SP, self.gradient_SP, self.first_moment_SP, self.second_moment_SP, self.steps_S)
            spans = (self.theta_SP, self.gradient_SP, self.steps_S, self.loss_S, self.relative_error_S)
            self._views = SlotViews(
                batch=batch,
                state=[kept[batch.span] for kept in spans] + [self.diverged_slots],
                per_slot=[[[kept[batch.first + a]] for a in live] for kept in matrices],
                live=live,
            )
        return self._views
