"""The Distiller: predicts a model's deep hidden state from a shallow one, and learns while the model decodes.

A `DistillerBank` holds S independent Distillers ("slots"), one per prompt group, in one tensor: slot s is row s of `theta_SP`.
The promise it keeps: data of one slot never changes a bit of another, and a slot that was reset is as good as new.

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
from torch.optim.adam import adam

from esamp.config import ESampConfig
from esamp.hidden_rows import HiddenRows, SlotBatch

RMS_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where each parameter of a slot lies in its flat row."""

    hidden_size: int
    inner_width: int
    num_blocks: int

    @property
    def num_weights(self) -> int:
        """Entries of one of U, G, D over all blocks."""
        return self.num_blocks * self.inner_width * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """P: entries of a slot's flat row."""
        return 3 * self.num_weights + self.hidden_size

    def split(self, flat_SP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views up and gate together [S, N, 2F, H], down [S, N, H, F] and gain [S, H] of flat rows [S, P]."""
        n, f, h, w = self.num_blocks, self.inner_width, self.hidden_size, self.num_weights
        return (
            flat_SP[:, : 2 * w].unflatten(1, (n, 2 * f, h)),
            flat_SP[:, 2 * w : 3 * w].unflatten(1, (n, h, f)),
            flat_SP[:, 3 * w :],
        )


@dataclass(frozen=True, slots=True, eq=False)
class BlockInput:
    """What the backward pass of one block needs."""

    h_AMH: Tensor
    up_gate_AMF: Tensor
    """[A, M, 2F]"""
    silu_AMF: Tensor
    """silu(gate)"""
    inner_AMF: Tensor
    """up * silu(gate)"""


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """What a bank computed to predict some rows: the prediction, and what learning from the same rows can go on from."""

    prediction_RH: Tensor
    """[R, H] fp32; not finite where the shallow state was not, or where the slot broke."""
    prediction_AMH: Tensor
    """The same, grouped by slot."""
    blocks: tuple[BlockInput, ...] = ()
    output_AMH: Tensor | None = None
    """h_N"""


def rms_normalise(x_RH: Tensor) -> Tensor:
    """x / rms(x) per row, fp32; zeros for a row that is not finite."""
    return torch.nn.functional.rms_norm(x_RH.float(), x_RH.shape[1:], eps=RMS_EPS).nan_to_num_(0.0, 0.0, 0.0)


def norms(x: Tensor) -> Tensor:
    """Euclidean norm [A] of everything under each first index."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


class DistillerBank:
    """S Distillers with their Adam moments and step counts, fp32, on one device: 4 numbers per parameter and slot.

    Not thread-safe: whoever trains and predicts takes turns (see esamp.learner).
    """

    def __init__(self, config: ESampConfig, output_gain_H: Tensor, *, num_slots: int, device: torch.device) -> None:
        """`output_gain_H` [H]: initial output gain, the weights of the model's final norm."""
        self.config = config
        self.layout = SlotLayout(output_gain_H.shape[0], config.inner_width, config.num_blocks)
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
            self.broken_slots = torch.zeros((), dtype=torch.long, device=device)
            """Times that finite rows gave a slot a non-finite gradient; such a slot predicts NaN until its reset."""

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
    def load(self, slot: int, weights_P: Tensor, *, steps: int, loss: float, relative_error: float) -> None:
        """Replace the weights of `slot` [P] by ones trained elsewhere: `steps` optimiser steps; the rest as in `loss_S` and
        `relative_error_S`."""
        self.theta_SP[slot].copy_(weights_P)
        self.steps_S[slot] = steps
        self.loss_S[slot] = loss
        self.relative_error_S[slot] = relative_error

    @torch.no_grad()
    def predict(self, rows: HiddenRows) -> Forward:
        """Predict the deep state of each row by the Distiller of its slot; the targets are not looked at. A row that is not finite
        counts as zero, and so is its prediction."""
        batch = rows.batch
        up_gate, down, gain = self.layout.split(self.theta_SP[batch.span])
        blocks: list[BlockInput] = []
        h = batch.gather(rms_normalise(rows.source_RH))
        for b in range(self.layout.num_blocks):
            up_gate_AMF = h @ up_gate[:, b].mT
            up, gate = up_gate_AMF.chunk(2, dim=-1)
            silu = torch.nn.functional.silu(gate)
            inner = up * silu
            blocks.append(BlockInput(h, up_gate_AMF, silu, inner))
            h = torch.baddbmm(h, inner, down[:, b].mT)
        prediction_AMH = h * gain.unsqueeze(1)
        return Forward(batch.scatter(prediction_AMH), prediction_AMH, tuple(blocks), h)

    @torch.no_grad()
    def train(self, rows: HiddenRows, forward: Forward | None = None) -> None:
        """One optimiser step of every slot that has rows; `loss_S` then holds the loss each had before its step.

        Loss of slot s (Eq. 10): mean over its rows of |y - f(x)|^2. The gradient is clipped per slot, then Adam.
        Rows with a non-finite number do not count; a slot left without rows, or with a non-finite gradient, takes no step.
        `forward`: what `predict` gave for these very rows with the present weights, if it was asked; training goes on from there.
        """
        forward = forward or self.predict(rows)
        batch = rows.batch
        finite_R1 = torch.isfinite(rows.source_RH.sum(-1, keepdim=True) + rows.target_RH.sum(-1, keepdim=True))
        target_AMH = batch.gather(torch.where(finite_R1, rows.target_RH, 0.0).float())
        # Padding and rows that are not finite have zero input: they drop out of every gradient once their error is zero.
        counted_AM1 = batch.gather(finite_R1)
        num_rows_A = counted_AM1.sum((1, 2))
        error_AMH = torch.where(counted_AM1, forward.prediction_AMH - target_AMH, 0.0)
        squared_error_A = norms(error_AMH).square()
        d_prediction_AMH, loss_A = self._loss(
            forward.prediction_AMH, target_AMH, error_AMH, squared_error_A, num_rows_A
        )
        self._backward(batch.span, forward, d_prediction_AMH)

        norm_A = norms(self.gradient_SP[batch.span])
        is_finite_A = torch.isfinite(norm_A)
        is_live_A = is_finite_A & (num_rows_A > 0)
        self._adam(batch, norm_A, is_live_A)
        self._mark_broken(batch.span, ~is_finite_A)
        for kept_S, latest_A in (
            (self.loss_S, loss_A),
            (self.relative_error_S, squared_error_A / norms(target_AMH).square()),
        ):
            kept_S[batch.span] = torch.where(is_live_A, latest_A, kept_S[batch.span])

    def _loss(
        self,
        prediction_AMH: Tensor,
        target_AMH: Tensor,
        error_AMH: Tensor,
        squared_error_A: Tensor,
        num_rows_A: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Gradient of the loss with respect to the prediction [A, M, H], and the loss per hidden channel [A]. Rows that do not count
        have error 0 and must get gradient 0."""
        d_prediction_AMH = error_AMH * (2.0 / num_rows_A.clamp(min=1))[:, None, None]
        return d_prediction_AMH, squared_error_A / (num_rows_A * self.layout.hidden_size)

    def _backward(self, span: slice, forward: Forward, d_prediction_AMH: Tensor) -> None:
        """Gradient of the loss into `gradient_SP`, by hand: autograd cannot save tensors made in vLLM's inference mode."""
        up_gate, down, gain = self.layout.split(self.theta_SP[span])
        d_up_gate, d_down, d_gain = self.layout.split(self.gradient_SP[span])
        assert forward.output_AMH is not None
        torch.sum(d_prediction_AMH * forward.output_AMH, 1, out=d_gain)
        dh = d_prediction_AMH * gain.unsqueeze(1)
        for b in reversed(range(self.layout.num_blocks)):
            block = forward.blocks[b]
            up, gate = block.up_gate_AMF.chunk(2, dim=-1)
            torch.bmm(dh.mT, block.inner_AMF, out=d_down[:, b])
            d_inner = dh @ down[:, b]
            d_silu = torch.ops.aten.silu_backward(d_inner * up, gate)
            d_up_gate_AMF = torch.cat([d_inner * block.silu_AMF, d_silu], dim=-1)
            torch.bmm(d_up_gate_AMF.mT, block.h_AMH, out=d_up_gate[:, b])
            if b:
                dh = torch.baddbmm(dh, d_up_gate_AMF, up_gate[:, b])

    def _mark_broken(self, span: slice, is_broken_A: Tensor) -> None:
        """A broken slot predicts NaN until its reset, so that whoever asks it hears that it has nothing to say."""
        last_gain_A = self.theta_SP[span, -1]
        self.broken_slots += (is_broken_A & torch.isfinite(last_gain_A)).sum()
        last_gain_A.masked_fill_(is_broken_A, torch.nan)

    def _adam(self, batch: SlotBatch, norm_A: Tensor, is_live_A: Tensor) -> None:
        """Clipping and Adam (arXiv:1412.6980) in one pass over each live slot; a slot that is not live keeps every bit.

        torch's fused kernel divides the gradient by `grad_scale` and leaves everything alone where `found_inf` is 1: that is the clip
        and the guard, with no need to look at either from the host.
        """
        c = self.config
        divisor_A = (norm_A / c.clip_norm).clamp(min=1.0)
        is_dead_A = (~is_live_A).float()
        for a, num_rows in enumerate(batch.num_rows_A):
            if num_rows == 0:
                continue
            slot = batch.first + a
            adam(
                [self.theta_SP[slot]],
                [self.gradient_SP[slot]],
                [self.first_moment_SP[slot]],
                [self.second_moment_SP[slot]],
                [],
                [self.steps_S[slot]],
                fused=True,
                grad_scale=divisor_A[a],
                found_inf=is_dead_A[a],
                amsgrad=False,
                beta1=c.adam_beta1,
                beta2=c.adam_beta2,
                lr=c.learning_rate,
                weight_decay=0.0,
                eps=c.adam_eps,
                maximize=False,
            )
