"""LiveCodeBench, code generation, release 6: contest problems by date (Jain et al. 2024, arXiv:2403.07974).

--released-from and --released-until choose a window, so that a model is asked only what came after its training. The prompt is lighteval's
(tasks/tasks/lcb/main.py), which is the benchmark's own. The hub's repository has a loading script, which `datasets` no longer runs: its
files are read directly, as that script's release_v6 does. None of it was loaded here: columns and encodings are from the benchmark's code.

Private tests are pickled text. A pickle can run code when it is read; here one that does more than hold text is refused.
"""

import base64
import io
import json
import pickle
import zlib
from typing import Any

from pipelines.errors import InputError
from pipelines.problems.problem import Problem
from pipelines.problems.task import HubSource, Row, Task, TaskOptions

REPOSITORY = "hf://datasets/livecodebench/code_generation_lite"
FILES = tuple(f"{REPOSITORY}/test{number}.jsonl" for number in ("", 2, 3, 4, 5, 6))

WITH_STARTER_CODE = (
    "You will use the following starter code to write the solution to the problem and enclose your code within delimiters.\n"
    "```python\n{code}\n```"
)
WITHOUT_STARTER_CODE = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample inputs). Enclose "
    "your code within delimiters as follows. Ensure that when the python program runs, it reads the inputs, runs the algorithm and "
    "writes output to STDOUT.\n```python\n# YOUR CODE HERE\n```"
)


def read_row(row: Row, options: TaskOptions) -> Problem | None:
    """The question and how the code is to be given; None outside the window. The answer holds public and private tests."""
    released = str(row["contest_date"])[: len("2025-01-31")]
    if not (options.released_from or "") <= released <= (options.released_until or "9999"):
        return None
    starter = row["starter_code"]
    form = WITH_STARTER_CODE.replace("{code}", starter) if starter else WITHOUT_STARTER_CODE
    return Problem(row["question_id"], f"Question: {row['question_content']}\n\n{form}", json.dumps(tests_of(row)))


def tests_of(row: Row) -> dict[str, Any]:
    """Tests on standard input, or of a function where the problem names one."""
    cases = json.loads(row["public_test_cases"]) + private_tests(row["private_test_cases"])
    tests = [{"input": case["input"], "output": case["output"]} for case in cases]
    function = json.loads(row["metadata"]).get("func_name")
    return {"entry_point": function, "functional_tests": tests} if function else {"stdin_tests": tests}


def private_tests(encoded: str) -> list[dict[str, str]]:
    """Plain JSON in some rows; in the others JSON, pickled, zlib-compressed and in base64. Raises InputError for any other pickle."""
    try:
        tests: list[dict[str, str]] = json.loads(encoded)
    except ValueError:
        pickled = zlib.decompress(base64.b64decode(encoded))
        tests = json.loads(TextOnlyUnpickler(io.BytesIO(pickled)).load())
    return tests


class TextOnlyUnpickler(pickle.Unpickler):
    """Reads pickled text, numbers and their lists; no class or function is looked up, so nothing runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise InputError(
            f"private tests of livecodebench: the pickle wants {module}.{name}, but only text is accepted."
        )


TASK = Task(
    name="livecodebench",
    source=HubSource("json", split="train", data_files=FILES),
    rows=read_row,
    prompt=(
        "You will be given a question (problem specification) and will generate a correct Python program that matches the "
        "specification and passes all tests.\n\n{problem}\n\n"
    ),
    prompt_source="lighteval, lcb",
    verifier="code",
    options=frozenset({"released_from", "released_until"}),
    num_problems=1055,
    max_tokens=8192,
)
