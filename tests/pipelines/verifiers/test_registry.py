"""An entry of the registry is all it takes to add a verifier."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.load_problems import load_problems
from pipelines.problems.problem import Problem
from pipelines.verifiers.registry import VERIFIERS, RunsIn, VerifierEntry, find_verifier
from pipelines.verifiers.scorer import ChildScorer, InProcessScorer, check_verifier, start_scorer
from pipelines.verifiers.settings import VerifierSettings, verifier_settings
from tests.pipelines.conftest import write_jsonl


def says_yes(text: str, problem: Problem) -> bool:
    return "yes" in text


ROOT = Path(__file__).resolve().parents[3]

TOY = VerifierEntry(
    name="toy",
    path=f"{__name__}:says_yes",
    help="says yes",
    runs_in=RunsIn.ACTOR,
    reads_answer=True,
    needs=("judge_model",),
    timeout_s=7.0,
)


def test_settings_timeouts_needs_and_scorers_read_the_entry(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(VERIFIERS, "toy", TOY)
    with pytest.raises(InputError, match="verifier toy needs --judge-model"):
        RunConfig(sampler="esamp", verifier="toy")
    config = RunConfig(
        sampler="esamp",
        verifier="toy",
        judge_model="m",
        dataset=str(write_jsonl(tmp_path / "rows.jsonl", [{"problem": "?"}])),
    )
    assert config.verdict_timeout_s == 7.0
    with pytest.raises(InputError, match="no answer column"):
        load_problems(config)
    scorer = start_scorer(verifier_settings(config))
    assert isinstance(scorer, InProcessScorer)
    assert scorer.score(Problem("p", "?", ""), "yes").score == 1.0


@pytest.mark.parametrize("name", sorted(set(VERIFIERS) - {"judge"}))
def test_every_entry_names_something_that_is_there(name: str) -> None:
    check_verifier(VerifierSettings(name=name, timeout_s=1.0, allow_unsafe_execution=True))


def test_a_verifier_of_ones_own_needs_no_entry_and_runs_in_a_child() -> None:
    assert find_verifier("my.module:verify").runs_in is RunsIn.CHILD
    scorer = start_scorer(VerifierSettings(name=f"{__name__}:says_yes", timeout_s=9.0))
    assert isinstance(scorer, ChildScorer)
    scorer.close()


def test_an_unknown_verifier_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"auto, countdown, math, .* or module:function; got 'maths'"):
        RunConfig(sampler="esamp", verifier="maths")


def test_help_and_docs_name_every_verifier() -> None:
    docs = (ROOT / "docs" / "verifiers.md").read_text()
    assert not [name for name in VERIFIERS if f"| `{name}`" not in docs]
    for job in ("jobs.passk", "jobs.verify"):
        shown = subprocess.run([sys.executable, "-m", job, "--help"], capture_output=True, text=True, cwd=ROOT).stdout
        assert not [entry.name for entry in VERIFIERS.values() if f"{entry.name}:" not in shown]


def test_the_settings_of_a_run_import_neither_sympy_nor_ray() -> None:
    program = (
        "import sys, pipelines.config.run; assert not {'sympy', 'math_verify', 'ray', 'openai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
