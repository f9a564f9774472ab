"""The solution path of a Countdown sample: two samples with the same path solve the problem in the same way."""

from pipelines.problems.countdown import STEP

COMMUTATIVE = "+*"


def solution_path(text: str) -> str | None:
    """The steps of a sample in a normal form; None if its text is not a list of steps.

    Operands of + and * in rising order, and steps sorted: the order of steps that do not use each other's results does not matter, and
    where one uses the other's the numbers tell which. Verdicts are not considered: pass correct samples to get correct paths.

    >>> solution_path("25-19=6,6*3=18") == solution_path("3*6=18,25-19=6")
    True
    """
    steps = []
    for step in text.strip().split(","):
        match = STEP.fullmatch(step)
        if match is None:
            return None
        a, operator, b, result = match.groups()
        if operator in COMMUTATIVE:
            a, b = sorted((a, b), key=int)
        steps.append(f"{int(a)}{operator}{int(b)}={int(result)}")
    return ",".join(sorted(steps))
