"""The bank of Distillers equals the slow reference, and its slots are strangers to each other."""

import pytest
import torch

from esamp.config import ESampConfig
from esamp.distiller.bank import DistillerBank
from esamp.distiller.hidden_rows import HiddenRows
from esamp.distiller.reference import ReferenceDistiller

H = 24
CPU = torch.device("cpu")


def make_bank(num_slots: int = 4, **settings: object) -> tuple[DistillerBank, ESampConfig, torch.Tensor]:
    config = ESampConfig.from_dict({"inner_width": 16, "learning_rate": 3e-3, **settings})
    gain = torch.linspace(0.5, 2.0, H)
    return DistillerBank(config, gain, num_slots=num_slots, device=CPU), config, gain


def rows_of(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(count, H, generator=generator)
    return source * 3, torch.tanh(source @ torch.randn(H, H, generator=torch.Generator().manual_seed(99))) * 2


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_training_equals_the_reference_step_for_step(num_blocks: int) -> None:
    bank, config, gain = make_bank(num_blocks=num_blocks)
    references = {slot: ReferenceDistiller(config, gain) for slot in (0, 2, 3)}
    slots = (0, 0, 0, 2, 2, 2, 2, 3)
    for step in range(25):
        source, target = rows_of(step, len(slots))
        bank.train(HiddenRows.of(source, target, slots))
        for slot, reference in references.items():
            mine = [i for i, s in enumerate(slots) if s == slot]
            assert bank.loss_S[slot].item() == pytest.approx(reference.learn(source[mine], target[mine]), rel=1e-4)
    source, _ = rows_of(1000, len(slots))
    predicted = bank.predict(HiddenRows.of(source, source, slots)).prediction_RH
    expected = torch.stack([references[slot](source[i : i + 1])[0] for i, slot in enumerate(slots)])
    torch.testing.assert_close(predicted, expected.detach(), rtol=1e-3, atol=1e-4)


def test_every_row_of_a_group_trains_its_slot() -> None:
    for left_out in range(4):
        source, target = rows_of(1, 4)
        whole, _, _ = make_bank()
        whole.train(HiddenRows.of(source, target, (1, 1, 1, 1)))
        part, _, _ = make_bank()
        keep = [i for i in range(4) if i != left_out]
        part.train(HiddenRows.of(source[keep], target[keep], (1, 1, 1)))
        assert not torch.equal(whole.theta_SP[1], part.theta_SP[1])


def test_data_of_one_group_never_changes_another() -> None:
    alone, _, _ = make_bank()
    together, _, _ = make_bank()
    for step in range(10):
        source, target = rows_of(step, 3)
        alone.train(HiddenRows.of(source, target, (1, 1, 1)))
        noise, far = rows_of(500 + step, 3)
        together.train(
            HiddenRows.of(torch.cat([noise * 50, source]), torch.cat([far * 90, target]), (0, 0, 3, 1, 1, 1))
        )
    torch.testing.assert_close(alone.theta_SP[1], together.theta_SP[1], rtol=0, atol=1e-6)
    assert torch.equal(together.theta_SP[2], make_bank()[0].theta_SP[2]), "a slot between the trained ones moved"
    assert together.steps_S.tolist() == [10, 10, 0, 10]


def test_loss_falls_and_every_kind_of_weight_moves() -> None:
    bank, _, _ = make_bank(learning_rate=1e-2)
    before = bank.theta_SP[0].clone()
    source, target = rows_of(7, 32)
    losses = []
    for _ in range(200):
        bank.train(HiddenRows.of(source, target, (0,) * 32))
        losses.append(bank.loss_S[0].item())
    assert losses[-1] < 0.25 * losses[0]
    for old, new in zip(bank.layout.split(before[None]), bank.layout.split(bank.theta_SP[:1]), strict=True):
        assert (old != new).float().mean() > 0.9


def test_a_reset_slot_is_as_good_as_new() -> None:
    bank, _, _ = make_bank()
    source, target = rows_of(3, 5)
    for _ in range(5):
        bank.train(HiddenRows.of(source, target, (1,) * 5))
    bank.reset(1)
    fresh, _, _ = make_bank()
    for trained in (bank, fresh):
        trained.train(HiddenRows.of(source, target, (1,) * 5))
    assert torch.equal(bank.theta_SP[1], fresh.theta_SP[1])
    assert bank.steps_S.tolist() == fresh.steps_S.tolist()


def test_clipping_bounds_one_slot_without_scaling_another() -> None:
    source, target = rows_of(5, 2)
    calm, _, _ = make_bank(adam_eps=1.0)
    wild, _, _ = make_bank(adam_eps=1.0)
    calm.train(HiddenRows.of(source, target, (0, 1)))
    wild.train(HiddenRows.of(source, torch.stack([target[0] * 1e4, target[1]]), (0, 1)))
    torch.testing.assert_close(calm.theta_SP[1], wild.theta_SP[1])
    moment = wild.first_moment_SP[0] / (1 - wild.config.adam_beta1)
    assert moment.norm() == pytest.approx(wild.config.clip_norm, rel=1e-4)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_non_finite_rows_neither_train_nor_poison(poison: float) -> None:
    source, target = rows_of(5, 3)
    clean, _, _ = make_bank()
    clean.train(HiddenRows.of(source[:2], target[:2], (0, 0)))
    bank, _, _ = make_bank()
    bad = source.clone()
    bad[2, 4] = poison
    bank.train(HiddenRows.of(bad, target, (0, 0, 0)))
    torch.testing.assert_close(bank.theta_SP[0], clean.theta_SP[0])
    before = bank.theta_SP.clone()
    bank.train(HiddenRows.of(bad[2:], target[2:], (0,)))
    assert torch.equal(bank.theta_SP, before)
    assert bank.steps_S[0] == 1


def test_a_row_alone_predicts_what_it_predicts_in_a_batch() -> None:
    bank, _, _ = make_bank()
    source, target = rows_of(11, 6)
    bank.train(HiddenRows.of(source, target, (0, 1, 1, 2, 0, 3)))
    slots = (3, 0, 1, 1, 2, 0)
    batch = bank.predict(HiddenRows.of(source, target, slots)).prediction_RH
    for row, slot in enumerate(slots):
        alone = bank.predict(HiddenRows.of(source[row : row + 1], target[row : row + 1], (slot,)))
        torch.testing.assert_close(alone.prediction_RH[0], batch[row])


def test_weights_trained_elsewhere_can_be_loaded() -> None:
    teacher, _, _ = make_bank()
    source, target = rows_of(13, 4)
    teacher.train(HiddenRows.of(source, target, (2,) * 4))
    pupil, _, _ = make_bank()
    pupil.load(0, teacher.theta_SP[2], steps=1, loss=0.5, relative_error=0.4)
    assert torch.equal(
        pupil.predict(HiddenRows.of(source, target, (0,) * 4)).prediction_RH,
        teacher.predict(HiddenRows.of(source, target, (2,) * 4)).prediction_RH,
    )


def test_the_bank_works_inside_and_outside_inference_mode() -> None:
    """vLLM's worker methods run in inference mode, a training thread does not."""
    source, target = rows_of(17, 4)
    with torch.inference_mode():
        bank, _, _ = make_bank()
        bank.train(HiddenRows.of(source, target, (0,) * 4))
        inside = (source * 2, target * 2)
    bank.train(HiddenRows.of(*inside, (0,) * 4))
    assert bank.steps_S[0] == 2


@pytest.mark.parametrize("where", ["up", "down", "gain"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_diverged_slot_predicts_nan_until_its_reset_and_no_other_slot_changes(poison: float, where: str) -> None:
    bank, untouched = make_bank()[0], make_bank()[0]
    up_gate, down, gain = bank.layout.split(bank.theta_SP[1:2])
    {"up": up_gate, "down": down, "gain": gain}[where].flatten()[3] = poison
    slots = (0, 1, 1, 2)
    for step in range(4):
        source, target = rows_of(step, 4)
        bank.train(HiddenRows.of(source, target, slots))
        untouched.train(HiddenRows.of(source, target, slots))
        others = [0, 2, 3]
        assert torch.equal(bank.theta_SP[others], untouched.theta_SP[others])
        predicted = bank.predict(HiddenRows.of(source, target, slots)).prediction_RH
        assert torch.isfinite(predicted.sum(-1)).tolist() == [True, False, False, True]
    assert bank.diverged_slots == 1, "once per break, not once per step"
    assert bank.steps_S.tolist() == [4, 0, 4, 0]
    bank.reset(1)
    source, target = rows_of(9, 2)
    bank.train(HiddenRows.of(source, target, (1, 1)))
    fresh, _, _ = make_bank()
    fresh.train(HiddenRows.of(source, target, (1, 1)))
    assert torch.equal(bank.theta_SP[1], fresh.theta_SP[1])
    assert bank.diverged_slots == 1


def test_a_slot_that_breaks_again_after_its_reset_is_counted_again() -> None:
    bank, _, _ = make_bank()
    source, target = rows_of(1, 2)
    for times in (1, 2):
        bank.theta_SP[0, 0] = torch.nan
        bank.train(HiddenRows.of(source, target, (0, 0)))
        assert bank.diverged_slots == times
        bank.reset(0)


def test_an_idle_slot_between_trained_ones_is_neither_stepped_nor_diverged() -> None:
    bank, _, _ = make_bank()
    bank.theta_SP[1, 0] = torch.nan
    source, target = rows_of(1, 2)
    bank.train(HiddenRows.of(source, target, (0, 2)))
    assert torch.isfinite(bank.theta_SP[[0, 2]]).all() and bank.steps_S.tolist() == [1, 0, 1, 0]
