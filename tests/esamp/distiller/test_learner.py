"""Whoever trains, and whenever: the same rows in the same order give the same weights."""

import threading
from collections.abc import Callable

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.background import DistillerThread
from esamp.distiller.bank import DistillerBank, Forward
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.learner import FrozenLearner, LaggedLearner, LocalLearner, SyncLearner, build_learner

H = 16
CONFIG = ESampConfig(inner_width=8, learning_rate=1e-2)
SLOTS = (0, 0, 1)


def make_bank() -> DistillerBank:
    return DistillerBank(CONFIG, torch.ones(H), num_slots=3, device=torch.device("cpu"))


def rows_of(step: int, slots: tuple[int, ...] = SLOTS) -> HiddenRows:
    source, target = torch.randn(2, len(slots), H, generator=torch.Generator().manual_seed(step))
    return HiddenRows.of(source, target, slots)


def local_learner(bank: DistillerBank) -> LocalLearner:
    return LocalLearner(bank, DistillerThread())


def opened(learner: SyncLearner, *slots: int) -> SyncLearner:
    for slot in slots:
        learner.open(slot, f"group {slot}")
    return learner


def weights_by_step(learner: SyncLearner, steps: int) -> list[torch.Tensor]:
    """Weights that predict each step, from the first on."""
    seen = []
    for step in range(steps):
        learner.refresh()
        rows = rows_of(step)
        forward = learner.bank.predict(rows)
        seen.append(learner.bank.theta_SP.clone())
        learner.learn(rows, forward)
    return seen


def test_background_training_predicts_every_step_with_the_weights_of_training_in_step() -> None:
    in_step = weights_by_step(opened(SyncLearner(make_bank()), 0, 1), 30)
    background = weights_by_step(opened(local_learner(make_bank()), 0, 1), 30)
    assert all(torch.equal(a, b) for a, b in zip(in_step, background, strict=True))
    assert not torch.equal(in_step[0], in_step[1])


@pytest.mark.parametrize("lag", [1, 2, 5])
def test_lagged_weights_are_those_of_training_in_step_some_steps_ago(lag: int) -> None:
    in_step = weights_by_step(opened(SyncLearner(make_bank()), 0, 1), 20)
    lagged = weights_by_step(opened(LaggedLearner(make_bank(), lag), 0, 1), 20)
    for step, weights in enumerate(lagged):
        # In step, the prediction of step t knows rows 0 .. t-1: lag 1.
        assert torch.equal(weights, in_step[max(0, step - (lag - 1))])


def test_the_version_counts_steps_learned_from() -> None:
    for learner, behind in ((SyncLearner(make_bank()), 0), (LaggedLearner(make_bank(), 4), 3)):
        opened(learner, 0, 1)
        weights_by_step(learner, 10)
        version = learner.version(0)
        assert version.learned == version.step == 10 - behind == int(learner.bank.steps_S[0])
        assert str(version) == f"local:{10 - behind}:{(10 - behind) * rows_of(0).slots.count(0)}"


def test_rows_of_a_group_that_has_ended_never_train_the_next_one_in_its_slot() -> None:
    learner = opened(LaggedLearner(make_bank(), 3), 0, 1)
    for step in range(2):
        learner.learn(rows_of(step), None)
    learner.close(0)
    learner.open(0, "the next group")
    for step in range(2, 4):
        learner.learn(rows_of(step), None)
    assert str(learner.version(0)) == "local:0:0" and learner.bank.steps_S[0] == 0
    assert learner.version(1).step == 2, "the other group's rows are kept"
    assert torch.equal(learner.bank.theta_SP[0], make_bank().theta_SP[0])


def test_a_frozen_bank_never_changes() -> None:
    learner = opened(FrozenLearner(make_bank()), 0, 1)
    weights = weights_by_step(learner, 10)
    assert all(torch.equal(w, make_bank().theta_SP) for w in weights)
    assert str(learner.version(0)) == "local:0:0"


@pytest.mark.parametrize("make", [SyncLearner, local_learner, lambda bank: LaggedLearner(bank, 2), FrozenLearner])
def test_an_opened_slot_is_as_new(make: Callable[[DistillerBank], SyncLearner]) -> None:
    learner = opened(make(make_bank()), 0, 1)
    weights_by_step(learner, 5)
    learner.refresh()
    learner.close(1)
    learner.open(1, "another")
    assert torch.equal(learner.bank.theta_SP[1], make_bank().theta_SP[1])
    assert str(learner.version(1)) == "local:0:0"


def test_what_training_raised_is_raised_by_the_next_refresh() -> None:
    """A background thread must not fail in silence."""
    learner = opened(local_learner(make_bank()), 0)
    learner.learn(HiddenRows.of(torch.randn(1, H), torch.randn(1, H + 1), (0,)), None)
    with pytest.raises(RuntimeError):
        learner.refresh()
    learner.refresh()


def test_an_error_of_training_that_ends_after_the_prefetch_began_is_raised_by_the_next_step() -> None:
    """With prefetching no call waits for training between two steps, so the next step's job took the place of the failed one, whose error
    was lost."""
    learner = opened(local_learner(make_bank()), 0)
    is_running, may_end = threading.Event(), threading.Event()

    def fail(rows: HiddenRows, forward: Forward | None) -> None:
        is_running.set()
        may_end.wait()
        raise RuntimeError("training failed")

    learner.bank.train = fail  # type: ignore[method-assign]
    learner.learn(rows_of(0, (0,)), None)
    is_running.wait()
    learner.catch_up()
    may_end.set()
    with pytest.raises(RuntimeError, match="training failed"):
        learner.learn(rows_of(1, (0,)), None)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"trainer": "local"}, LocalLearner),
        ({"trainer": "sync"}, SyncLearner),
        ({"trainer": "none"}, FrozenLearner),
        ({"trainer": "local", "lag": 3}, LaggedLearner),
        ({"trainer": "actor"}, type(None)),
    ],
)
def test_the_config_chooses_the_learner(settings: dict[str, object], kind: type) -> None:
    assert type(build_learner(ESampConfig.from_dict(settings), make_bank(), DistillerThread())) is kind
