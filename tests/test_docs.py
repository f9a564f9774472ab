"""Documentation holds: its examples are run, and every path and command it names exists."""

import doctest
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    ROOT / "cluster.yaml",
    *sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml")),
]

REPOSITORY_PATH = re.compile(r"(?<![\w/.~-])(?:esamp|actors|pipelines|jobs|tests|docs)/[\w./-]*\w/?")
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
TEST_FILE = re.compile(r"\btest_\w+\.py")
COMMAND = re.compile(r"\b(?:python -m |`)(jobs\.\w+)")


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_examples_hold(path: Path) -> None:
    assert doctest.testfile(str(path), module_relative=False).failed == 0


def test_the_worked_example_of_the_statistics_is_run() -> None:
    assert doctest.testfile(str(DOCS / "statistics.md"), module_relative=False).attempted > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_repository_path_and_link_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    paths = {ROOT / path for path in REPOSITORY_PATH.findall(text)}
    links = {page.parent / link for link in RELATIVE_LINK.findall(text)}
    missing = {str(path.relative_to(ROOT)) for path in paths | links if not path.exists()}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_file_that_a_page_names_exists(page: Path) -> None:
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(TEST_FILE.findall(page.read_text())) - files == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_job_that_a_page_names_exists(page: Path) -> None:
    jobs = set(COMMAND.findall(page.read_text()))
    assert {job for job in jobs if importlib.util.find_spec(job) is None} == set()


def test_the_readme_names_paths_links_and_jobs() -> None:
    """A pattern that finds nothing would let every page pass."""
    text = (ROOT / "README.md").read_text()
    assert {"pipelines/passk.py", "esamp/fusion/forms.py"} <= set(REPOSITORY_PATH.findall(text))
    assert "docs/statistics.md" in RELATIVE_LINK.findall(text)
    assert {"jobs.passk", "jobs.compare"} <= set(COMMAND.findall(text))
    assert "test_router.py" in TEST_FILE.findall((DOCS / "failures.md").read_text())
