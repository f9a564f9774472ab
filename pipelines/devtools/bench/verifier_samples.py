"""Small samples of every verifier, right and wrong ones, for measuring how fast it is. What they are is of no other interest."""

import json

from pipelines.problems.problem import Problem

Sample = tuple[Problem, str]
"""A problem and what a model answered."""

COUNTDOWN = Problem("countdown", "19 25=44:", "44")
EXACT = Problem("exact", "Who wrote it?", "Mary Shelley")
CHOICE = Problem("choice", "A) one B) two", "B")
FRACTION = Problem("fraction", "Half of a half?", "\\frac{1}{4}")
POLYNOMIAL = Problem("polynomial", "Expand it.", "x^2 + 2x + 1")

HEAD = 'def total(numbers):\n    """The sum of the numbers."""\n'
CASES = [{"input": f"{n}", "output": f"{2 * n}\n"} for n in range(20)]
COMPLETION = Problem(
    "completion",
    HEAD,
    json.dumps(
        {
            "entry_point": "total",
            "prompt": HEAD,
            "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
        }
    ),
)
ASSERTIONS = Problem("assertions", "Double it.", json.dumps({"test_list": ["assert double(2) == 4"]}))
SCRIPT = Problem("script", "Double it.", json.dumps({"stdin_tests": CASES}))
FUNCTION = Problem("function", "Double it.", json.dumps({"entry_point": "double", "functional_tests": CASES}))
DOUBLE = "```python\ndef double(n):\n    return {}\n```"

SAMPLES: dict[str, list[Sample]] = {
    "countdown": [(COUNTDOWN, "19+25=44"), (COUNTDOWN, "25-19=6"), (COUNTDOWN, "")] * 500,
    "exact": [(EXACT, "It was \\boxed{mary shelley}."), (EXACT, "It was\nPercy Shelley."), (EXACT, "")] * 500,
    "choice": [(CHOICE, "So it is two.\nAnswer: B"), (CHOICE, "Answer: A"), (CHOICE, "I cannot say.")] * 500,
    "math": [
        *((FRACTION, "That is $\\boxed{0.25}$."), (FRACTION, "That is $\\boxed{\\frac{1}{2}}$.")),
        *((POLYNOMIAL, "Thus $\\boxed{(x+1)^2}$."), (POLYNOMIAL, "I do not know")),
    ]
    * 50,
    "code": [
        *((COMPLETION, "    return sum(numbers)\n"), (COMPLETION, "    return 3\n")),
        *((ASSERTIONS, DOUBLE.format("2 * n")), (ASSERTIONS, DOUBLE.format("n"))),
    ]
    * 15,
    "code, 20 cases on stdin": [(SCRIPT, "print(2 * int(input()))")] * 20,
    "code, 20 calls": [(FUNCTION, DOUBLE.format("2 * n"))] * 20,
}
"""By the verifier's name, with what sets a row apart behind a comma."""
