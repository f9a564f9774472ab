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


LONG_PROMPT = [5 + (7 * i) % 23 for i in range(40)]


@pytest.mark.parametrize("distiller", ["mlp", "rls"])
@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 16}, {"enable_prefix_caching": False}], ids=str)
def test_a_prompt_teaches_its_distiller_each_token_once_and_before_the_first_sample(
    tiny_model: Path, distiller: str, options: dict[str, object]
) -> None:
    """Three siblings, whose prompt is read at once, in pieces, or by each of them."""
    settings = {**RLS, "distiller": distiller, "warmup": "none", "learns_prompt": True}
    engine = start_engine(tiny_model, settings, **{"max_num_seqs": 4, **options})
    tags = [f"{distiller} {options} {j}" for j in range(3)]
    extra = {"esamp_group": "g", "esamp_group_size": 3}
    generate(engine, [(LONG_PROMPT, params(max_tokens=10, extra_args={**extra, "esamp_record": tag})) for tag in tags])
    assert explorer(engine).counters().trained_rows == len(LONG_PROMPT) + 3 * 9
    recorded = records(engine, tags)
    first_versions = [str(recorded[tag]["version"]).split(":") for tag in tags]
    assert all(int(rows) >= len(LONG_PROMPT) for _, _, rows in first_versions)
    assert {lag for tag in tags for lag in recorded[tag]["lag"][1:]} == {1}


def test_what_a_prompt_has_taught_is_no_longer_new(tiny_model: Path) -> None:
    """The prompt repeats itself, and its last token is one that it has shown."""
    first_novelty = []
    for learns_prompt in (False, True):
        engine = start_engine(tiny_model, {**RLS, "warmup": "none", "learns_prompt": learns_prompt})
        tag = f"learns prompt {learns_prompt}"
        generate(engine, [(LONG_PROMPT, params(max_tokens=6, extra_args={"esamp_record": tag}))])
        first_novelty.append(records(engine, [tag])[tag]["novelty"][1])
    assert first_novelty[0] == pytest.approx(1.0, abs=0.01), "least squares that have seen nothing predict zero"
    assert first_novelty[1] < 0.9 * first_novelty[0]
