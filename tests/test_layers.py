"""Who may import whom: jobs -> pipelines -> actors -> esamp, and esamp without Ray or vLLM."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {
    "esamp": {"ray", "actors", "pipelines", "jobs", "tests", "tyro", "argparse"},
    "actors": {"pipelines", "jobs", "tests", "tyro", "argparse"},
    "pipelines": {"jobs", "tests", "tyro", "argparse"},
    "jobs": {"tests"},
}
VLLM_MODULES = {
    "engine/sampler.py",
    "engine/adapter.py",
    "engine/platform_worker.py",
    "engine/request_checks.py",
    "server/launch.py",
    "server/plugin.py",
    "server/routes.py",
    "server/vllm_options.py",
    "devtools/bench/engine_bench.py",
    "devtools/bench/model_cost.py",
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_downwards(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & FORBIDDEN[package], path


def devtools_users() -> set[str]:
    """Modules outside devtools packages that import one, as paths from the project's root."""
    users = set()
    for package in FORBIDDEN:
        for path in (ROOT / package).rglob("*.py"):
            names = {
                name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in [*(alias.name for alias in node.names), getattr(node, "module", None) or ""]
            }
            if "devtools" not in path.parts and any("devtools" in name.split(".") for name in names):
                users.add(path.relative_to(ROOT).as_posix())
    return users


def test_only_instruments_import_devtools() -> None:
    """Neither a user's run nor a user's command needs what measures or trains the project itself."""
    assert devtools_users() == set()


def test_vllm_is_imported_only_where_it_is_extended() -> None:
    package = ROOT / "esamp"
    users = {str(path.relative_to(package)) for path in package.rglob("*.py") if "vllm" in imported(path)}
    assert users == VLLM_MODULES


def test_esamp_imports_where_ray_and_vllm_cannot() -> None:
    program = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ray", "vllm"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Refuse())
import esamp, esamp.distiller.interface, esamp.distiller.learner, esamp.distiller.predictors, esamp.distiller.prompt_groups
import esamp.distiller.reference, esamp.distiller.warmup, esamp.fusion.forms, pipelines.statistics.pass_at_k
import esamp.baselines.amateur, esamp.baselines.fire, esamp.batch, esamp.fusion.logit_adjustment
import esamp.exploration.weight_ages, esamp.policies, esamp.policy, esamp.telemetry
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_configs_and_the_registry_of_policies_need_the_standard_library_only() -> None:
    program = "import sys, esamp.policies, esamp.scope, actors.config; assert not {'torch', 'numpy', 'ray', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
