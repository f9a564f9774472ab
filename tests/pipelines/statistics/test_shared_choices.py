"""Correlation of success by shared choices, on replies whose first or last token decides."""

import numpy as np
import pytest

from pipelines.statistics.dependent_samples.shared_choices import Reply, shared_nats, success_by_shared_choices

LN2 = float(np.log(2))


def reply(tokens: list[int], *, is_correct: bool) -> Reply:
    return Reply(is_correct, np.array(tokens), np.full(len(tokens), LN2))


def replies(rng: np.random.Generator, num: int, *, decides: int) -> list[Reply]:
    """Three fair bits each; bit `decides` is the verdict."""
    return [reply(bits, is_correct=bits[decides] == 1) for bits in rng.integers(0, 2, (num, 3)).tolist()]


def found(*, decides: int) -> list[float]:
    rng = np.random.default_rng(0)
    problems = [
        (replies(rng, 8, decides=decides), [r.is_correct for r in replies(rng, 8, decides=decides)])
        for _ in range(3000)
    ]
    return [
        at.correlation for at in success_by_shared_choices(problems, edges=(0, 0.5 * LN2, 1.5 * LN2, 2.5 * LN2, 10.0))
    ]


def test_where_the_first_choice_decides_those_who_share_it_succeed_together() -> None:
    none, one, two, three = found(decides=0)
    assert none == pytest.approx(-1.0, abs=0.05), "they differ in the bit that decides"
    assert (one, two, three) == pytest.approx((1.0, 1.0, 1.0), abs=0.08)


def test_where_the_last_choice_decides_sharing_the_first_says_nothing() -> None:
    none, one, two, three = found(decides=2)
    assert (none, one) == pytest.approx((0.0, 0.0), abs=0.05)
    assert (two, three) == pytest.approx((-1.0, 1.0), abs=0.08), (
        "those who share two bits and no more differ in the third"
    )


def test_shared_nats_are_those_of_the_common_prefix() -> None:
    a, b = reply([1, 2, 3], is_correct=True), reply([1, 2, 4, 5], is_correct=False)
    assert shared_nats(a, b) == pytest.approx(2 * LN2)
    assert shared_nats(a, reply([1, 2], is_correct=True)) == pytest.approx(2 * LN2)


def test_a_problem_without_other_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="two samples of other runs or more; got 1"):
        success_by_shared_choices([([reply([1], is_correct=True)], [True])])
