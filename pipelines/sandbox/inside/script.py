"""Grading by a script: the tests run in the grader, and call the program through a pipe."""

from collections.abc import Callable
from types import CodeType
from typing import Any

from pipelines.sandbox.inside.program import text_of
from pipelines.sandbox.inside.remote import RemoteProgram, Unreadable
from pipelines.sandbox.inside.remote_values import Remote
from pipelines.sandbox.inside.values import CannotCross
from pipelines.sandbox.inside.wire import WireError

TESTS_FILE, SETUP_FILE = "<tests>", "<setup>"

StartClock = Callable[[str], None]
"""Gives the program its time, from now; told where this is, for the verdict if the time runs out."""


def grade_script(
    program: RemoteProgram, source: str, tests: dict[str, Any], start_clock: StartClock
) -> tuple[str, str]:
    """Status and detail: passed if the last line of the tests is reached without an exception."""
    start_clock("")
    try:
        code, namespace = prepare(tests)
    except BaseException as error:
        return "tests_broken", f"{type(error).__name__}: {text_of(error)}"
    try:
        program.run(source)
        run_tests(program, code, namespace, tests)
    except Unreadable as error:
        return "unreadable", str(error)
    except CannotCross as error:
        return "undecided", text_of(error)
    except WireError as error:
        return program.how_it_ended(error)
    except MemoryError as error:
        return "out_of_memory", failure(error, tests["test"])
    except BaseException as error:
        if program.obstacle:
            return "undecided", program.obstacle
        return "failed", failure(error, tests["test"])
    return ("undecided", program.obstacle) if program.obstacle else ("passed", "")


def run_tests(program: RemoteProgram, code: CodeType, namespace: dict[str, Any], tests: dict[str, Any]) -> None:
    """Run the tests with the program's names in their namespace."""
    namespace |= {name: program.named(name) for name in tests["names"]}
    plain = [name for name in tests["names"] if not isinstance(namespace[name], Remote | type)]
    if not plain:
        exec(code, namespace)
        return
    for statement in statements(tests["test"]):
        # A global of the program's may be another value after each: it is asked for again.
        namespace |= {name: program.named(name) for name in plain}
        exec(statement, namespace)


def statements(source: str) -> list[CodeType]:
    """The statements of a source, each compiled by itself."""
    import ast  # late: it takes as long as all other imports of a grader together

    nodes = ast.parse(source, TESTS_FILE).body
    return [compile(ast.Module([node], []), TESTS_FILE, "exec", dont_inherit=True) for node in nodes]


def prepare(tests: dict[str, Any]) -> tuple[CodeType, dict[str, Any]]:
    """The tests, compiled, and the namespace they run in: only what the dataset says, nothing of the program's."""
    for name, folder in tests["packages"].items():
        import_from(name, folder)
    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(compile(tests["setup"], SETUP_FILE, "exec", dont_inherit=True), namespace)
    return compile(tests["test"], TESTS_FILE, "exec", dont_inherit=True), namespace


def import_from(name: str, folder: str) -> None:
    """Import a package by its folder: this Python has no site packages."""
    import importlib.util
    import os
    import sys

    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # more threads than one are denied, and numpy would complain
    spec = importlib.util.spec_from_file_location(name, f"{folder}/__init__.py", submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None, f"{folder} holds no package"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def failure(error: BaseException, test: str) -> str:
    """What was raised, and the line of the tests it came from."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == TESTS_FILE:
            line = test.splitlines()[trace.tb_lineno - 1].strip()
        trace = trace.tb_next
    what = f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
    return f"{what} at {line[:200]}" if line else what
