"""The Triton kernel equals the torch reference on the host: on a GPU (marked gpu, left out on machines without one), and anywhere in
Triton's interpreter, if the package is installed (`pip install --target FOLDER --no-deps triton`, FOLDER in PYTHONPATH)."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch

from esamp.draw.inputs import DrawInputs, Inversion
from esamp.draw.reference import TorchDraw
from tests.esamp.draw.batches import assert_equal_draws, mixed_inputs


def to_device(inputs: Any, device: str) -> Any:
    """The same dataclass with all its tensors, and those of the dataclasses in it, on the device."""
    values = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    return replace(inputs, **{name: moved(value, device) for name, value in values.items()})


def moved(value: object, device: str) -> object:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return to_device(value, device) if is_dataclass(value) else value


@pytest.mark.gpu
@pytest.mark.parametrize("is_given", [False, True], ids=["distiller", "given"])
@pytest.mark.parametrize("top_k", [None, 5], ids=["unfiltered", "filtered"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("num_rows", "vocabulary"), [(1, 1000), (45, 449), (512, 130), (64, 151_936)])
def test_triton_kernel_equals_the_reference(
    num_rows: int, vocabulary: int, dtype: torch.dtype, top_k: int | None, is_given: bool
) -> None:
    from esamp.draw.cuda import TritonDraw

    inputs = mixed_inputs(num_rows, vocabulary, dtype=dtype, top_k=top_k, is_given=is_given)
    assert_equal_draws(TritonDraw()(to_device(inputs, "cuda")), TorchDraw()(inputs))


@pytest.mark.gpu
@pytest.mark.parametrize("num_rows", [1, 45])
def test_rows_at_given_numbers_equal_the_reference(num_rows: int) -> None:
    from esamp.draw.cuda import TritonDraw

    inputs = inverted_inputs(num_rows)
    assert_equal_draws(TritonDraw()(to_device(inputs, "cuda")), TorchDraw()(inputs))


def inverted_inputs(num_rows: int) -> DrawInputs:
    """A batch without adjustment of which every other row is drawn by inversion."""
    inputs = mixed_inputs(num_rows, 449, dtype=torch.float32, top_k=5, is_given=True)
    uniform_B, fill_B = torch.rand(2, num_rows, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    uniform_B[1::2] = torch.nan
    return replace(inputs, adjustment=None, inversion=Inversion(uniform_B, fill_B))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_in_tritons_interpreter_the_kernel_equals_the_reference() -> None:
    """In a process of its own: Triton reads the variable when it is imported."""
    ended = subprocess.run(
        [sys.executable, "-c", "from tests.esamp.draw.test_cuda import interpret; interpret()"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


def interpret() -> None:
    from esamp.draw.backend import check_draw
    from esamp.draw.cuda import TritonDraw

    check_draw(TritonDraw(), torch.device("cpu"))
    for num_rows, vocabulary, dtype in ((1, 1000, torch.float32), (5, 449, torch.bfloat16), (12, 130, torch.float32)):
        for top_k in (None, 5):
            for is_given in (False, True):
                inputs = mixed_inputs(num_rows, vocabulary, dtype=dtype, top_k=top_k, is_given=is_given)
                assert_equal_draws(TritonDraw()(inputs), TorchDraw()(inputs))
    assert_equal_draws(TritonDraw()(inverted_inputs(6)), TorchDraw()(inverted_inputs(6)))
