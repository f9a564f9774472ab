"""The names of vLLM's engine arguments, without importing vLLM, which takes some ten seconds that a driver need not spend."""

import ast
from importlib.util import find_spec
from pathlib import Path

DEFINED_IN = ("engine/arg_utils.py", "EngineArgs")
"""File below vLLM's package, and the dataclass whose fields are the arguments."""


def engine_argument_names() -> frozenset[str]:
    """Fields of vllm.EngineArgs as they stand in the installed source; empty where vLLM is not installed."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return frozenset()
    file, name = DEFINED_IN
    tree = ast.parse((Path(spec.origin).parent / file).read_text())
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    fields = (node.target for node in found.body if isinstance(node, ast.AnnAssign))
    return frozenset(target.id for target in fields if isinstance(target, ast.Name))
