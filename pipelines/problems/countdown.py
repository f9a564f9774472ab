"""Countdown: the task that ships in the repository. Reach a target from four numbers; many ways are right, and checking is exact.

    prompt   "3 7 19 25=84:"            numbers, "=", target, ":"
    answer   "25-19=6,3*6=18,18+7=25"   steps "a op b=c", joined by commas

Each step takes two numbers that are still unused (given, or results of earlier steps) and gives one back; the last result must be the
target. Not every number has to be used. Problems are split by a hash of what they ask: training never sees an evaluation problem.
"""

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

NUMBER_RANGE = (1, 25)
NUMBERS_PER_PROBLEM = 4
TARGET_RANGE = (10, 100)
LARGEST_RESULT = 999
"""Random solutions stay below this, which keeps answers short. An answer may go higher."""
HELD_OUT_SHARE = 10
"""One problem in this many is for evaluation."""

STEP = re.compile(r"([0-9]{1,9})([-+*/])([0-9]{1,9})=([0-9]{1,9})")
PROMPT = re.compile(r"([0-9]{1,9}(?: [0-9]{1,9})+)=([0-9]{1,9}):")


class CountdownStatus(StrEnum):
    """What became of an answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    PARSE_ERROR = "parse_error"


@dataclass(frozen=True, slots=True)
class CountdownVerdict:
    """Status of one answer, the value it reached (empty if none) and what was wrong with it."""

    status: CountdownStatus
    extracted: str
    detail: str


@dataclass(frozen=True, slots=True)
class CountdownProblem:
    """Numbers, in the order they are shown, and the target. Raises ValueError if one of them is not positive."""

    numbers: tuple[int, ...]
    target: int

    def __post_init__(self) -> None:
        if len(self.numbers) < 2:
            raise ValueError(f"a Countdown problem has two numbers or more; got {self.numbers}.")
        if min(*self.numbers, self.target) < 1:
            raise ValueError(
                f"the numbers and the target of a Countdown problem are positive integers; got {self.numbers} and {self.target}."
            )

    @property
    def problem_id(self) -> str:
        """The same for every order of the numbers."""
        return f"countdown-{'-'.join(map(str, sorted(self.numbers)))}-to-{self.target}"

    @property
    def prompt(self) -> str:
        """What the model continues."""
        return f"{' '.join(map(str, self.numbers))}={self.target}:"

    @classmethod
    def from_prompt(cls, prompt: str) -> "CountdownProblem":
        """The problem a prompt asks. Raises ValueError if it is none."""
        match = PROMPT.fullmatch(prompt)
        if match is None:
            raise ValueError(f'a Countdown prompt reads "3 7 19 25=84:", with numbers below 10^9; got {prompt[:80]!r}.')
        return cls(tuple(map(int, match[1].split())), int(match[2]))


def apply_operator(a: int, operator: str, b: int) -> int | None:
    """a op b in positive integers; None where it has no such value."""
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b if a > b else None
    if operator == "*":
        return a * b
    return a // b if b and a % b == 0 else None


def is_held_out(problem: CountdownProblem) -> bool:
    """True for problems that are kept for evaluation."""
    digest = hashlib.sha256(problem.problem_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_SHARE == 0


def random_example(rng: random.Random) -> tuple[CountdownProblem, str]:
    """A random problem with a random solution, made forwards: the target is what the steps happen to reach."""
    while True:
        numbers = tuple(rng.randint(*NUMBER_RANGE) for _ in range(NUMBERS_PER_PROBLEM))
        steps, reached = random_chain(rng, numbers)
        if TARGET_RANGE[0] <= reached <= TARGET_RANGE[1] and reached not in numbers:
            return CountdownProblem(numbers, reached), ",".join(steps)


def random_chain(rng: random.Random, numbers: tuple[int, ...]) -> tuple[list[str], int]:
    """Two or three random steps and what they reach, which is 0 if a step has no value or too large a one.

    Each step but the first uses the result before it, so that no step is idle.
    """
    unused = list(numbers)
    num_steps = rng.choice((2, 3, 3))
    reached = unused.pop(rng.randrange(len(unused)))
    steps: list[str] = []
    for _ in range(num_steps):
        a, b = reached, unused.pop(rng.randrange(len(unused)))
        if rng.random() < 0.5:
            a, b = b, a
        operator = rng.choice("+-*/")
        value = apply_operator(a, operator, b)
        if value is None or value > LARGEST_RESULT:
            return steps, 0
        steps.append(f"{a}{operator}{b}={value}")
        reached = value
    return steps, reached


def training_examples(seed: int, count: int) -> list[tuple[CountdownProblem, str]]:
    """`count` random problems with solutions, none of them held out; the same for the same seed."""
    rng = random.Random(f"train-{seed}")
    examples: list[tuple[CountdownProblem, str]] = []
    while len(examples) < count:
        problem, solution = random_example(rng)
        if not is_held_out(problem):
            examples.append((problem, solution))
    return examples


def evaluation_problems(count: int, seed: int = 0) -> list[CountdownProblem]:
    """`count` different held-out problems, each solvable; the same for the same seed."""
    rng = random.Random(f"evaluate-{seed}")
    problems: dict[str, CountdownProblem] = {}
    while len(problems) < count:
        problem, _ = random_example(rng)
        if is_held_out(problem):
            problems.setdefault(problem.problem_id, problem)
    return list(problems.values())


def verify_answer(problem: CountdownProblem, text: str) -> CountdownVerdict:
    """Exact verdict on an answer; never raises, whatever the text. The first thing wrong decides."""
    text = text.strip()
    if not text:
        return CountdownVerdict(CountdownStatus.NO_ANSWER, "", "the answer is empty")
    unused = Counter(problem.numbers)
    reached = ""
    for step in text.split(","):
        match = STEP.fullmatch(step)
        if match is None:
            return CountdownVerdict(CountdownStatus.PARSE_ERROR, reached, f'{step[:40]!r} is no step like "25-19=6"')
        a, operator, b, stated = int(match[1]), match[2], int(match[3]), int(match[4])
        for number in (a, b):
            if not unused[number]:
                why = "is used up" if number in unused else "is neither given nor a result"
                return CountdownVerdict(CountdownStatus.WRONG, reached, f"{step}: {number} {why}")
            unused[number] -= 1
        value = apply_operator(a, operator, b)
        if value is None:
            return CountdownVerdict(CountdownStatus.WRONG, reached, f"{step}: {a}{operator}{b} is no positive integer")
        if value != stated:
            return CountdownVerdict(CountdownStatus.WRONG, reached, f"{step}: {a}{operator}{b} is {value}")
        unused[value] += 1
        reached = str(value)
    if reached != str(problem.target):
        return CountdownVerdict(CountdownStatus.WRONG, reached, f"reached {reached}, not {problem.target}")
    return CountdownVerdict(CountdownStatus.CORRECT, reached, "")
