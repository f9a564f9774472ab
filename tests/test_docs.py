"""Examples in the documentation are run, and say what they print."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_examples_hold(path: Path) -> None:
    assert doctest.testfile(str(path), module_relative=False).failed == 0


def test_the_worked_example_of_the_statistics_is_run() -> None:
    assert doctest.testfile(str(DOCS / "statistics.md"), module_relative=False).attempted > 10
