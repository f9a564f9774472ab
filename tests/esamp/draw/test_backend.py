"""Which draw an engine gets, and that one which does something else is refused."""

from dataclasses import dataclass, replace

import pytest
import torch

from esamp.draw.backend import CUDA_VARIABLE, WrongDraw, check_draw, fused_draw
from esamp.draw.cpu import CompiledDraw
from esamp.draw.inputs import DrawInputs, DrawnTokens
from esamp.draw.reference import TorchDraw


@dataclass(frozen=True)
class AnotherDraw:
    """The reference with one of its results changed in one row."""

    changed: str

    def __call__(self, inputs: DrawInputs) -> DrawnTokens:
        drawn = TorchDraw()(inputs)
        column_B = getattr(drawn, self.changed).clone()
        column_B[5] += 1
        return replace(drawn, **{self.changed: column_B})


def test_the_compiled_draw_passes_the_comparison() -> None:
    check_draw(CompiledDraw(), torch.device("cpu"))


@pytest.mark.parametrize(
    "changed",
    ["tokens_B", "unadjusted_tokens_B", "num_candidates_B", "logprobs_B", "plain_logprobs_B", "unadjusted_logprobs_B"],
)
def test_a_draw_that_differs_is_refused_by_what_differs(changed: str) -> None:
    with pytest.raises(WrongDraw, match=f"^{changed} of AnotherDraw on cpu differ from the reference"):
        check_draw(AnotherDraw(changed), torch.device("cpu"))


def test_without_the_variable_cuda_keeps_the_draw_of_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUDA_VARIABLE, raising=False)
    assert fused_draw(torch.device("cuda")) is None


def test_a_variable_that_names_no_draw_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUDA_VARIABLE, "yes")
    with pytest.raises(ValueError, match=r"ESAMP_CUDA_DRAW must be \"triton\".*got 'yes'"):
        fused_draw(torch.device("cuda"))
