"""Who may import what: a light process reads the configs, and one folder knows vLLM."""

import ast
import subprocess
import sys
from pathlib import Path

import esamp

ROOT = Path(esamp.__file__).parent


def imported_by(module: Path) -> set[str]:
    """Packages that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def test_only_the_engine_package_and_the_bench_import_vllm() -> None:
    importers = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if "vllm" in imported_by(path)}
    assert importers and all(name.startswith(("engine/", "devtools/bench/")) for name in importers), sorted(importers)


def test_every_policy_is_listed_without_torch_or_vllm() -> None:
    code = (
        "import sys; from esamp.policies import POLICIES; print(*POLICIES, {'torch', 'vllm', 'ray'} & set(sys.modules))"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert listed.split() == ["esamp", "fire", "override", "contrastive", "set()"]
