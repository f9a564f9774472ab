"""Grading by cases, as LiveCodeBench does (lcb_runner/evaluation/testing_util.py): an input, and what must come of it.

The wall clock starts anew for each case, and the first case that fails ends the test job. Cases come one frame at a time, each after
the one before was passed.
"""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from pipelines.sandbox.inside.process import RemoteRunner
from pipelines.sandbox.inside.program import text_of
from pipelines.sandbox.inside.remote import RemoteProgram, Unreadable
from pipelines.sandbox.inside.script import StartClock
from pipelines.sandbox.inside.values import CannotCross
from pipelines.sandbox.inside.wire import MAX_TRUSTED_BYTES, WireError, receive

MAX_SHOWN = 100
"""Characters shown of what was printed or returned, and of what was expected."""


def grade_runs(
    runner: RemoteRunner, supervisor: int, tests: dict[str, Any], start_clock: StartClock
) -> tuple[str, str]:
    """Status and detail: passed if every run prints what its case expects."""
    for number in range(1, tests["cases"] + 1):
        case, where = receive(supervisor, max_bytes=MAX_TRUSTED_BYTES), f"case {number} of {tests['cases']}"
        start_clock(where)
        try:
            status, printed = runner.run(case["input"])
        except WireError as error:  # it runs nothing of the model's: whatever ended it is the machine's fault
            return "sandbox_failed", f"the runner is gone: {error} in {where}"
        if status != "passed":
            return status, f"{printed} in {where}"
        difference = output_difference(printed, case["output"])
        if difference:
            return "failed", f"{difference} in {where}"
    return "passed", ""


def output_difference(printed: str, expected: str) -> str:
    """How two outputs differ, "" if they do not: line by line, without spaces at the ends; a line may be equal as numbers."""
    ours, theirs = stripped_lines(printed), stripped_lines(expected)
    for line, (our, their) in enumerate(zip(ours, theirs, strict=False), start=1):
        if our != their and not equal_as_numbers(our, their):
            return f"line {line} is {shown(our)}, not {shown(their)}"
    return "" if len(ours) == len(theirs) else f"{len(ours)} lines, not {len(theirs)}"


def stripped_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def equal_as_numbers(our: str, their: str) -> bool:
    """Equal word by word as decimals, exactly: 1.50 is 1.5, and 0.3333 is not a third."""
    try:
        return [Decimal(word) for word in our.split()] == [Decimal(word) for word in their.split()]
    except InvalidOperation:
        return False


def grade_calls(
    program: RemoteProgram, source: str, supervisor: int, tests: dict[str, Any], start_clock: StartClock
) -> tuple[str, str]:
    """Status and detail: passed if every call returns what its case expects. A tuple returned stands for a list."""
    where = "the program's top level"
    start_clock(where)
    try:
        program.run(source)
        holder = tests["holder"]
        function = program.named(tests["function"]) if holder is None else method(program, holder, tests["function"])
        for number in range(1, tests["cases"] + 1):
            case, where = receive(supervisor, max_bytes=MAX_TRUSTED_BYTES), f"case {number} of {tests['cases']}"
            try:
                arguments = [json.loads(line) for line in case["input"].split("\n")]
                expected = json.loads(case["output"])
            except ValueError as error:
                return "tests_broken", f"{error} in {where}"
            start_clock(where)
            returned = function(*arguments)
            if (list(returned) if isinstance(returned, tuple) else returned) != expected:
                return "failed", f"returned {shown(returned)}, not {shown(expected)} in {where}"
    except Unreadable as error:
        return "unreadable", str(error)
    except CannotCross as error:
        return "undecided", f"{text_of(error)} in {where}"
    except WireError as error:
        status, detail = program.how_it_ended(error)
        return status, f"{detail} in {where}"
    except MemoryError:
        return "out_of_memory", f"MemoryError in {where}"
    except BaseException as error:  # SystemExit crosses too
        return "failed", f"{type(error).__name__}: {text_of(error)} in {where}"
    return "passed", ""


def method(program: RemoteProgram, holder: str, name: str) -> Any:
    """A method of an instance of the program's class."""
    return getattr(program.named(holder)(), name)


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
