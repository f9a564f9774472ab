"""The CUDA path: the numbers of the CPU, whichever stream trains, and a host that never waits. Untested on machines without a GPU, where
these are left out.

What is tested here: training and prediction equal the CPU's; a side stream equals training in step, bit for bit; no part of a decode step
makes the host wait for the device; CUDA graphs change no token. Tensor parallelism: tests/esamp/engine/test_tensor_parallel.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.learner import LaggedLearner, StreamLearner, SyncLearner
from esamp.distiller.predictors import NoisePrediction, OwnPrediction, Prediction, Predictor
from esamp.distiller.prefetch import StreamPrefetcher
from esamp.distiller.shared_init import SharedInitBank
from esamp.distiller.vocabulary_distiller import VocabularyDistillerBank
from esamp.distiller.warmup import FitWarmup
from esamp.fusion.forms import ClampedFusion, EntropyMatchedTemperature, Fusion, ProposedFusion, SubtractionFusion
from esamp.fusion.logit_adjustment import (
    CandidateAdjustment,
    DenseAdjustment,
    KnownCandidates,
    LogitAdjustment,
    mix_hidden,
)

pytestmark = pytest.mark.gpu
H, V = 64, 96
CONFIG = ESampConfig(inner_width=32, learning_rate=3e-3)
SLOTS = (0, 1, 1, 3, 3)


def make_bank(device: str, kind: type[DistillerBank] = DistillerBank) -> DistillerBank:
    more: dict[str, Any] = {}
    if kind is VocabularyDistillerBank:
        more["head_weight_VH"] = torch.randn(V, H, generator=torch.Generator().manual_seed(0)).to(device)
    return kind(CONFIG, torch.ones(H, device=device), num_slots=4, device=torch.device(device), **more)


def stream_learner(bank: DistillerBank) -> StreamLearner:
    return StreamLearner(bank, torch.cuda.Stream())


def rows(step: int, device: str, slots: tuple[int, ...] = SLOTS) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(step)).to(device)
    return HiddenRows.of(source, target, slots)


@contextmanager
def host_must_not_wait() -> Iterator[None]:
    """Any operation inside that makes the host wait for the device raises."""
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_the_guard_itself_sees_a_host_that_waits() -> None:
    with pytest.raises(RuntimeError, match="synchronizing"), host_must_not_wait():
        torch.ones(1, device="cuda").item()


@pytest.mark.parametrize("kind", [DistillerBank, SharedInitBank, VocabularyDistillerBank])
def test_training_on_cuda_equals_training_on_the_cpu(kind: type[DistillerBank]) -> None:
    here, there = make_bank("cpu", kind), make_bank("cuda", kind)
    for step in range(20):
        here.train(rows(step, "cpu"))
        there.train(rows(step, "cuda"))
    torch.testing.assert_close(there.theta_SP.cpu(), here.theta_SP, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [DistillerBank, SharedInitBank])
def test_training_on_a_side_stream_equals_training_in_step(kind: type[DistillerBank]) -> None:
    in_step, background = SyncLearner(make_bank("cuda", kind)), stream_learner(make_bank("cuda", kind))
    for learner in (in_step, background):
        for slot in (0, 1, 3):
            learner.open(slot, f"group {slot}")
    for step in range(50):
        batch = rows(step, "cuda")
        predictions = []
        for learner in (in_step, background):
            learner.refresh()
            forward = learner.bank.predict(batch)
            predictions.append(forward.prediction_RH)
            learner.learn(batch, forward)
        torch.testing.assert_close(*predictions, rtol=0, atol=0)


@pytest.mark.parametrize("make", [SyncLearner, stream_learner, lambda bank: LaggedLearner(bank, 3)])
@pytest.mark.parametrize("kind", [DistillerBank, SharedInitBank, VocabularyDistillerBank])
def test_predicting_and_training_never_make_the_host_wait(
    kind: type[DistillerBank], make: Callable[[DistillerBank], SyncLearner]
) -> None:
    learner = make(make_bank("cuda", kind))
    for slot in (0, 1, 3):
        learner.open(slot, f"group {slot}")
    batches = [rows(step, "cuda") for step in range(6)]
    learner.learn(batches[0], learner.bank.predict(batches[0]))  # the first call loads kernels
    with host_must_not_wait():
        for batch in batches[1:]:
            learner.refresh()
            learner.learn(batch, learner.bank.predict(batch))


def test_foreseeing_on_the_stream_that_trains_equals_predicting_in_step() -> None:
    """And the host waits for neither; the memory of a prediction is not used again while the decode loop reads it."""
    stream = torch.cuda.Stream()
    in_step, background = SyncLearner(make_bank("cuda")), StreamLearner(make_bank("cuda"), stream)
    prefetcher = StreamPrefetcher(background.bank, stream)
    for slot in (0, 1, 3):
        in_step.open(slot, f"group {slot}")
        background.open(slot, f"group {slot}")
    batches, pairs = [rows(step, "cuda") for step in range(50)], []
    for batch in batches[:1]:  # the first call loads kernels
        prefetcher.start(batch)
        prefetcher.take()
    with host_must_not_wait():
        for batch in batches:
            background.catch_up()
            prefetcher.start(batch)
            forward = in_step.bank.predict(batch)
            prefetched = prefetcher.take()
            assert prefetched is not None
            pairs.append((prefetched.prediction_RH.clone(), forward.prediction_RH))
            in_step.learn(batch, forward)
            background.learn(batch, prefetched)
    for foreseen_RH, predicted_RH in pairs:
        torch.testing.assert_close(foreseen_RH, predicted_RH, rtol=0, atol=0)


@pytest.mark.parametrize("make", [OwnPrediction, lambda bank: NoisePrediction(bank, 1)])
def test_stand_ins_and_warmup_never_make_the_host_wait(make: Callable[[DistillerBank], Predictor]) -> None:
    bank = make_bank("cuda")
    predictor, batch, beta = make(bank), rows(1, "cuda"), torch.ones(5, device="cuda")
    slots = torch.tensor(SLOTS, device="cuda")
    predictor.predict(batch)
    with host_must_not_wait():
        predictor.predict(batch)
        FitWarmup().scale(beta, bank, slots)


def adjustment_of(prediction: Prediction, batch: HiddenRows, index: torch.Tensor | slice) -> LogitAdjustment:
    error = batch.target_RH - prediction.hidden_RH
    return LogitAdjustment(
        rows=index,
        hidden_RH=batch.target_RH,
        prediction_RH=prediction.hidden_RH,
        error_RH=error,
        is_finite_R=torch.isfinite(error.sum(-1)),
        beta_R=torch.full((len(batch.slots),), 0.5, device="cuda"),
    )


@pytest.mark.parametrize(
    "fusion", [ProposedFusion(), SubtractionFusion(), ClampedFusion(0.5), EntropyMatchedTemperature()]
)
@pytest.mark.parametrize("some_rows", [False, True])
def test_adjusting_logits_never_makes_the_host_wait(fusion: Fusion, some_rows: bool) -> None:
    bank, batch = make_bank("cuda"), rows(1, "cuda")
    size = 9 if some_rows else 5
    index: torch.Tensor | slice = torch.tensor([0, 2, 4, 6, 8], device="cuda") if some_rows else slice(None)
    hidden, logits = torch.randn(size, H, device="cuda"), torch.randn(size, V, device="cuda")
    head, temperature = torch.randn(V, H, device="cuda"), torch.full((size,), 0.8, device="cuda")

    def adjust() -> None:
        adjustment = adjustment_of(OwnPrediction(bank).predict(batch), batch, index)
        DenseAdjustment(adjustment, fusion, adjustment.prediction_RH @ head.T)(logits.clone(), temperature)
        few = CandidateAdjustment(adjustment, fusion, KnownCandidates(7), head, lambda h: h @ head.T)
        few(logits.clone(), temperature)
        mix_hidden(hidden, adjustment, ProposedFusion())

    adjust()
    with host_must_not_wait():
        adjust()


@pytest.fixture
def v1_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "0")


@pytest.mark.engine
@pytest.mark.parametrize("filters", [{}, {"top_k": 8}, {"top_p": 0.9}], ids=str)
def test_a_decode_step_of_an_engine_never_waits_while_its_batch_stays_the_same(
    filters: dict[str, Any], v1_runner: None, tiny_model: Path
) -> None:
    from tests.esamp.engine.engines import PROMPTS, explorer, generate, params, start_engine

    engine = start_engine(tiny_model, {"beta": 0.5})
    inside = explorer(engine)
    before_sampling, after_sampling = inside.before_sampling, inside.after_sampling
    guarded = 0

    def before(step: Any, *, is_recording: bool) -> Any:
        nonlocal guarded
        if inside._plan is None or not inside._plan.describes(step) or not inside._plan.rows:
            return before_sampling(step, is_recording=is_recording)
        guarded += 1
        with host_must_not_wait():
            return before_sampling(step, is_recording=is_recording)

    def after(step: Any, tokens_B: torch.Tensor) -> None:
        if inside._step is None or guarded < 2:
            return after_sampling(step, tokens_B)
        with host_must_not_wait():
            return after_sampling(step, tokens_B)

    inside.before_sampling, inside.after_sampling = before, after  # type: ignore[method-assign]
    generate(engine, [(p, params(n=4, seed=i, **filters)) for i, p in enumerate(PROMPTS)])
    assert guarded >= 20


@pytest.mark.engine
def test_cuda_graphs_change_no_token(v1_runner: None, tiny_model: Path) -> None:
    from tests.esamp.engine.engines import PROMPTS, explorer, generate, params, start_engine

    requests = [(p, params(n=3, seed=100 * i, max_tokens=40)) for i, p in enumerate(PROMPTS)]
    tokens = []
    for is_eager in (True, False):
        engine = start_engine(tiny_model, {"beta": 0.5, "learning_rate": 3e-3}, enforce_eager=is_eager)
        tokens.append(generate(engine, requests))
        assert explorer(engine).counters().explored_rows == 12 * 39
    assert tokens[0] == tokens[1]


@pytest.mark.engine
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_way_tensor_parallelism_gives_the_tokens_of_one_device(v1_runner: None, tiny_model: Path) -> None:
    from tests.esamp.engine.engines import PROMPTS, generate, params, start_engine

    requests = [(p, params(seed=i, max_tokens=30)) for i, p in enumerate(PROMPTS)]
    one, two = (
        generate(start_engine(tiny_model, {"beta": 0.5}, tensor_parallel_size=size), requests) for size in (1, 2)
    )
    assert one == two
