"""A least-squares Distiller, and groups that outlive their running requests, in a real engine."""

from pathlib import Path

import pytest
import torch

from tests.esamp.engine.engines import PROMPTS, explorer, generate, params, records, settle, start_engine

pytestmark = pytest.mark.engine
RLS = {"distiller": "rls", "source_depth": 0.67, "rls_features": 64, "warmup": "fit", "trainer": "sync"}


def test_it_predicts_the_deep_state_within_a_hundred_tokens(tiny_model: Path) -> None:
    """Where the paper's network still has the error of a random one."""
    novelty = {}
    for name, settings in {"rls": RLS, "mlp": {"trainer": "sync"}}.items():
        engine = start_engine(tiny_model, settings)
        tag = f"{name}-last"
        requests = [
            (PROMPTS[0], params(max_tokens=100, extra_args={"esamp_record": f"{name}{j}" if j < 15 else tag}))
            for j in range(16)
        ]
        generate(engine, requests)
        novelty[name] = torch.tensor(records(engine, [tag])[tag]["novelty"][80:]).mean()
    assert novelty["rls"] < 0.8 * novelty["mlp"]
    assert novelty["rls"] < 0.9


def test_the_layer_is_a_share_of_the_models_depth(tiny_model: Path) -> None:
    assert explorer(start_engine(tiny_model, RLS)).source_layer == 2


def test_siblings_that_run_one_after_the_other_share_a_distiller(tiny_model: Path) -> None:
    """One place in the batch: the Distiller used to be reset for every sibling, so that none met what the others had taught."""
    engine = start_engine(tiny_model, {"trainer": "sync"}, max_num_seqs=1)
    rows = []
    for size in (1, 4):
        extra = {"esamp_group": f"size {size}", "esamp_group_size": size}
        tags = [f"{size}/{j}" for j in range(4)]
        generate(engine, [(PROMPTS[1], params(extra_args={**extra, "esamp_record": tag})) for tag in tags])
        rows.append([int(records(engine, [tag])[tag]["version"].split(":")[2]) for tag in tags])
    assert max(rows[0]) < 24
    assert rows[1] == sorted(rows[1])
    assert rows[1][-1] > 3 * 20
    settle(engine)
    assert len(explorer(engine).groups) == 0
    assert explorer(engine).counters().vanilla_groups == 0
