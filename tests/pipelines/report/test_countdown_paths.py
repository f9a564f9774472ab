"""Solution paths of Countdown answers."""

import doctest

from pipelines.report.measures import countdown_paths
from pipelines.report.measures.countdown_paths import solution_path


def test_the_order_of_operands_and_of_free_steps_does_not_matter() -> None:
    assert solution_path("2+3=5,4*6=24") == solution_path("6*4=24,3+2=5")


def test_different_operations_are_different_paths() -> None:
    assert len({solution_path(text) for text in ("2+3=5", "9-4=5", "5*1=5", "1+4=5")}) == 4
    assert solution_path("9-4=5") != solution_path("4-9=5")


def test_what_is_no_step_has_no_path() -> None:
    assert solution_path("") is None
    assert solution_path("2+3=5,so 5") is None


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(countdown_paths).failed == 0 and doctest.testmod(countdown_paths).attempted
