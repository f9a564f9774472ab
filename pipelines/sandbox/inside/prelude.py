"""What LiveCodeBench imports in front of every program, so that it counts as correct without imports of its own.

Modules and their order are those of lcb_runner/evaluation/testing_util.py, and so is the recursion limit. Later names hide earlier ones:
`open` and `pow` are the built-in ones.
"""

STARRED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "builtins", "typing"),
)
NAMED = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json"),
)
RECURSION_LIMIT = 50_000

PRELUDE = "".join(
    (
        *(f"from {module} import *\n" for module in STARRED),
        *(f"import {module}\n" for module in NAMED),
        f"sys.setrecursionlimit({RECURSION_LIMIT})\n",
    )
)
"""As source."""
