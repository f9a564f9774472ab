"""Top-p without vLLM's sort keeps the set that vLLM keeps, ties included."""

import pytest
import torch
from torch import Tensor
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

from esamp.draw.top_p import SortedFilter


def vllms(z_BV: Tensor, k_B: Tensor | None, p_B: Tensor | None) -> Tensor:
    return apply_top_k_top_p_pytorch(z_BV, k_B, p_B, allow_cpu_sync=True)


def logits(kind: str, rows: int, vocabulary: int, seed: int) -> Tensor:
    """Logits that a filter may meet. Rounded ones have many equal values, as those of a model in bf16 do."""
    z_BV = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    match kind:
        case "bf16":
            return z_BV.bfloat16().float()
        case "coarse":
            return z_BV.round()
        case "masked":
            return z_BV.masked_fill(z_BV < 0, -torch.inf)
        case "one value":
            return torch.zeros_like(z_BV)
        case "signed zeros":
            return z_BV.round().clamp(-1, 0) * torch.tensor([1.0, -1.0]).repeat(vocabulary)[:vocabulary]
        case "one candidate":
            return torch.where(torch.arange(vocabulary) == 5, 1.0, -torch.inf).expand(rows, -1).clone()
        case "no candidate":
            return torch.full_like(z_BV, -torch.inf)
        case "not a number":
            z_BV[0, 3] = torch.nan
    return z_BV


KINDS = (
    "fp32",
    "bf16",
    "coarse",
    "masked",
    "one value",
    "signed zeros",
    "one candidate",
    "no candidate",
    "not a number",
)


@pytest.mark.parametrize("vocabulary", [7, 1031])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_k", [False, True])
def test_the_kept_set_is_vllms(kind: str, vocabulary: int, with_k: bool) -> None:
    rows, keep = 24, SortedFilter(vllms)
    p_B = torch.tensor([0.01, 0.3, 0.5, 0.8, 0.95, 1.0]).repeat(4)
    k_B = torch.tensor([1, 2, 5, vocabulary]).repeat_interleave(6).clamp(max=vocabulary) if with_k else None
    for seed in range(2):
        z_BV = logits(kind, rows, vocabulary, seed)
        wanted = vllms(z_BV.clone(), None if k_B is None else k_B.clone(), p_B)
        assert torch.equal(keep(z_BV.clone(), k_B, p_B).nan_to_num(9e9), wanted.nan_to_num(9e9))


def test_the_kept_set_is_vllms_at_a_real_vocabulary() -> None:
    z_BV = logits("fp32", 2, 151_936, 0)
    z_BV[:, :60] += 14
    p_B, handed_over = torch.tensor([0.9, 0.95]), []

    def watched(z_BV: Tensor, k_B: Tensor | None, p_B: Tensor | None) -> Tensor:
        handed_over.append(len(z_BV))
        return vllms(z_BV, k_B, p_B)

    kept_BV = SortedFilter(watched)(z_BV.clone(), None, p_B)
    assert torch.equal(kept_BV, vllms(z_BV.clone(), None, p_B))
    assert 1 < int((kept_BV[1] > -torch.inf).sum()) < 60 and not handed_over
