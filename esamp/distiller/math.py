"""The Distiller's arithmetic: pure functions of tensors, which a CPU runs without Python's interpreter lock.

    predict_rows   shallow rows -> predictions, and the activations that training reuses
    learn_rows     deep rows -> loss -> gradient, by hand -> clip -> Adam, in torch's fused kernel

A thread that trains in Python takes the lock from the decode loop with every operation, which costs the loop more than training in its
own thread would. As TorchScript each function takes it once. (torch would rather have torch.compile or torch.export here; both need a C++
compiler on the user's machine, and the first holds the lock.) On CUDA the same functions run as plain Python: there they only launch
kernels.

Legend: R rows, A slots in a batch's range, M rows per slot (padded), N blocks, H hidden size, F inner width, P parameters of one slot.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

RMS_EPS = 1e-6
SAVED_PER_BLOCK = 4
"""Tensors that the backward pass of one block needs: its input [A, M, H], up and gate [A, M, 2F], silu(gate) [A, M, F] and
up * silu(gate) [A, M, F]."""


def rms_normalise(x_RH: Tensor, eps: float = RMS_EPS) -> Tensor:
    """x / rms(x) per row, fp32; zeros for a row that is not finite."""
    return torch.rms_norm(x_RH.float(), [x_RH.shape[1]], None, eps).nan_to_num_(0.0, 0.0, 0.0)


def gather(rows_RH: Tensor, index_AM: Tensor, is_aligned: bool) -> Tensor:
    """[R, H] -> [A, M, H], zeros where padded (index R)."""
    if is_aligned:
        return rows_RH.reshape(index_AM.shape[0], index_AM.shape[1], rows_RH.shape[1])
    padding_1H = torch.zeros([1, rows_RH.shape[1]], dtype=rows_RH.dtype, device=rows_RH.device)
    return torch.cat([rows_RH, padding_1H])[index_AM]


def scatter(grouped_AMH: Tensor, index_AM: Tensor, is_aligned: bool, num_rows: int) -> Tensor:
    """[A, M, H] -> [R, H]; padding is dropped."""
    if is_aligned:
        return grouped_AMH.flatten(0, 1)
    rows = torch.empty([num_rows + 1, grouped_AMH.shape[2]], dtype=grouped_AMH.dtype, device=grouped_AMH.device)
    rows[index_AM.flatten()] = grouped_AMH.flatten(0, 1)
    return rows[:-1]


def split(flat_AP: Tensor, hidden: int, width: int, blocks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views up and gate together [A, N, 2F, H], down [A, N, H, F] and gain [A, H] of slots [A, P]."""
    weights = blocks * width * hidden
    return (
        flat_AP[:, : 2 * weights].view(-1, blocks, 2 * width, hidden),
        flat_AP[:, 2 * weights : 3 * weights].view(-1, blocks, hidden, width),
        flat_AP[:, 3 * weights :],
    )


def predict_rows(
    source_RH: Tensor, index_AM: Tensor, is_aligned: bool, theta_AP: Tensor, width: int, blocks: int
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Predictions [R, H] and [A, M, H], h_N [A, M, H], and SAVED_PER_BLOCK tensors of each block."""
    up_gate, down, gain = split(theta_AP, source_RH.shape[1], width, blocks)
    saved: list[Tensor] = []
    h = gather(rms_normalise(source_RH), index_AM, is_aligned)
    for b in range(blocks):
        up_gate_AMF = torch.bmm(h, up_gate[:, b].transpose(1, 2))
        silu = torch.ops.aten.silu(up_gate_AMF[:, :, width:])
        inner = up_gate_AMF[:, :, :width] * silu
        saved += [h, up_gate_AMF, silu, inner]
        h = torch.baddbmm(h, inner, down[:, b].transpose(1, 2))
    prediction_AMH = h * gain.unsqueeze(1)
    return scatter(prediction_AMH, index_AM, is_aligned, source_RH.shape[0]), prediction_AMH, h, saved


def prediction_error(
    prediction_AMH: Tensor, source_RH: Tensor, target_RH: Tensor, index_AM: Tensor, is_aligned: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Targets [A, M, H], errors [A, M, H] and the number of rows [A] that count. A row that is padding, or has a number that is not
    finite, does not: target and error are 0."""
    finite_R1 = torch.isfinite(source_RH.sum(-1, keepdim=True) + target_RH.sum(-1, keepdim=True))
    target_AMH = gather(torch.where(finite_R1, target_RH.float(), 0.0), index_AM, is_aligned)
    counted_AM1 = gather(finite_R1, index_AM, is_aligned)
    return target_AMH, torch.where(counted_AM1, prediction_AMH - target_AMH, 0.0), counted_AM1.sum([1, 2])


def learn_rows(
    prediction_AMH: Tensor,
    output_AMH: Tensor,
    saved: list[Tensor],
    source_RH: Tensor,
    target_RH: Tensor,
    index_AM: Tensor,
    is_aligned: bool,
    state: list[Tensor],
    per_slot: list[list[list[Tensor]]],
    live: list[int],
    width: int,
    optimiser: list[float],
) -> None:
    """One optimiser step on the squared error (Eq. 10); parameters as in `predict_rows` and `descend`."""
    target_AMH, error_AMH, num_rows_A = prediction_error(prediction_AMH, source_RH, target_RH, index_AM, is_aligned)
    squared_error_A = error_AMH.square().sum([1, 2])
    d_prediction_AMH = error_AMH * (2.0 / num_rows_A.clamp(min=1)).unsqueeze(1).unsqueeze(2)
    loss_A = squared_error_A / (num_rows_A * output_AMH.shape[2])
    relative_error_A = squared_error_A / target_AMH.square().sum([1, 2])
    descend(
        d_prediction_AMH,
        output_AMH,
        saved,
        loss_A,
        relative_error_A,
        num_rows_A,
        state,
        per_slot,
        live,
        width,
        optimiser,
    )


def descend(
    d_prediction_AMH: Tensor,
    output_AMH: Tensor,
    saved: list[Tensor],
    loss_A: Tensor,
    relative_error_A: Tensor,
    num_rows_A: Tensor,
    state: list[Tensor],
    per_slot: list[list[list[Tensor]]],
    live: list[int],
    width: int,
    optimiser: list[float],
) -> None:
    """One optimiser step of the slots `live` (places in 0 .. A-1), from the gradient with respect to the predictions.

    `state`, updated in place: weights, gradients [A, P], steps, loss, relative error [A], and the count of slots that diverged. `per_slot`,
    the same memory: weights, gradients, both moments [P] and steps, each a list over `live` of lists of one tensor. `optimiser`: the
    largest norm of a gradient, and Adam's step size, both decays and epsilon.

    A slot without rows that count keeps every bit. So does one whose gradient is not finite, but for its last gain, which becomes NaN: it
    predicts NaN until its reset, and so its rows stay vanilla.
    """
    theta_AP, gradient_AP, steps_A, kept_loss_A, kept_error_A, diverged = state
    clip_norm, learning_rate, beta1, beta2, eps = optimiser
    backward(theta_AP, gradient_AP, d_prediction_AMH, output_AMH, saved, width)
    norm_A = torch.linalg.vector_norm(gradient_AP, dim=[1])
    is_finite_A = torch.isfinite(norm_A)
    is_live_A = is_finite_A & (num_rows_A > 0)
    steps_A += is_live_A
    last_gain_A = theta_AP[:, -1]
    diverged += (~is_finite_A & torch.isfinite(last_gain_A)).sum()
    last_gain_A.masked_fill_(~is_finite_A, float("nan"))
    kept_loss_A.copy_(torch.where(is_live_A, loss_A, kept_loss_A))
    kept_error_A.copy_(torch.where(is_live_A, relative_error_A, kept_error_A))
    # torch's fused kernel divides the gradient by `grad_scale` and leaves everything alone where `found_inf` is 1: the clip and the
    # guard, with no need to look at either from the host. (Lists made in here would be lost on TorchScript, which then takes the kernel
    # for one that changes nothing.)
    divisor_A = (norm_A / clip_norm).clamp(min=1.0)
    is_dead_A = (~is_live_A).float()
    theta, gradient, first_moment, second_moment, steps = per_slot
    no_maxima: list[Tensor] = []
    for i in range(len(live)):
        torch.ops.aten._fused_adam_(
            theta[i],
            gradient[i],
            first_moment[i],
            second_moment[i],
            no_maxima,
            steps[i],
            lr=learning_rate,
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=eps,
            amsgrad=False,
            maximize=False,
            grad_scale=divisor_A[live[i]],
            found_inf=is_dead_A[live[i]],
        )


def backward(
    theta_AP: Tensor, gradient_AP: Tensor, d_prediction_AMH: Tensor, output_AMH: Tensor, saved: list[Tensor], width: int
) -> None:
    """Gradient of the loss into `gradient_AP`, by hand: autograd cannot save tensors made in vLLM's inference mode."""
    blocks = len(saved) // 4
    up_gate, down, gain = split(theta_AP, output_AMH.shape[2], width, blocks)
    d_up_gate, d_down, d_gain = split(gradient_AP, output_AMH.shape[2], width, blocks)
    d_gain.copy_((d_prediction_AMH * output_AMH).sum(1))
    dh = d_prediction_AMH * gain.unsqueeze(1)
    for i in range(blocks):
        b = blocks - 1 - i
        h, up_gate_AMF, silu, inner = saved[4 * b], saved[4 * b + 1], saved[4 * b + 2], saved[4 * b + 3]
        d_down[:, b].copy_(torch.bmm(dh.transpose(1, 2), inner))
        d_inner = torch.bmm(dh, down[:, b])
        d_gate = torch.ops.aten.silu_backward(d_inner * up_gate_AMF[:, :, :width], up_gate_AMF[:, :, width:])
        d_up_gate_AMF = torch.cat([d_inner * silu, d_gate], dim=-1)
        d_up_gate[:, b].copy_(torch.bmm(d_up_gate_AMF.transpose(1, 2), h))
        if b > 0:
            dh = torch.baddbmm(dh, d_up_gate_AMF, up_gate[:, b])


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The functions above, as they run on one kind of device."""

    predict_rows: Callable[..., tuple[Tensor, Tensor, Tensor, list[Tensor]]]
    learn_rows: Callable[..., None]
    prediction_error: Callable[..., tuple[Tensor, Tensor, Tensor]]
    """The parts of `learn_rows`, for another loss."""
    descend: Callable[..., None]


@cache
def arithmetic_on(device_type: str) -> Arithmetic:
    """TorchScript on a CPU, the functions themselves elsewhere."""
    if device_type != "cpu":
        return Arithmetic(predict_rows, learn_rows, prediction_error, descend)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return Arithmetic(
            torch.jit.script(predict_rows),
            torch.jit.script(learn_rows),
            torch.jit.script(prediction_error),
            torch.jit.script(descend),
        )
