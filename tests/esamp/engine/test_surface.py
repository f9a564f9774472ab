"""What esamp needs inside vLLM is there, is asked for by name at start-up, and engines it cannot run in are refused with a suggestion."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import vllm
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, PretrainedConfig
from vllm import LLM

from esamp.engine import adapter
from esamp.engine import surface as vllm_surface
from esamp.engine.surface import UnsupportedEngine, check_surface
from tests.esamp.engine.engines import PROMPTS, generate, params, start_engine

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> LLM:
    return start_engine(tiny_model, {"beta": 0.5})


@pytest.fixture
def worker(engine: LLM) -> Any:
    [found] = engine.collective_rpc(lambda wrapper: wrapper.worker)
    return found


def test_this_vllm_has_everything(worker: Any) -> None:
    check_surface(worker.model_runner)
    adapter.check_engine(worker)
    adapter.check_runner(worker)


class Without:
    """A model runner that lacks one attribute, and is itself otherwise."""

    def __init__(self, whole: Any, path: str) -> None:
        self._whole, self._path = whole, path

    def __getattr__(self, name: str) -> Any:
        first, _, rest = self._path.partition(".")
        if name == first and not rest:
            raise AttributeError(name)
        found = getattr(self._whole, name)
        return Without(found, rest) if name == first else found


@pytest.mark.parametrize("path", vllm_surface.RUNNER_ATTRIBUTES)
def test_a_runner_without_one_of_the_names_is_refused_by_that_name(path: str, worker: Any) -> None:
    with pytest.raises(UnsupportedEngine, match=rf"Without\.{path} \(to "):
        check_surface(Without(worker.model_runner, path))


def test_everything_that_is_missing_is_told_at_once(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = vllm_surface.ReliedFunction("vllm.v1.sample.sampler", "Sampler.gone", (), "do this")
    renamed = vllm_surface.ReliedFunction(
        "vllm.v1.sample.sampler", "Sampler.forward", ("logits", "metadata"), "do that"
    )
    shorter = vllm_surface.ReliedFields(
        "vllm.v1.worker.gpu_model_runner", "ExecuteModelState", ("logits", "gone"), "read"
    )
    elsewhere = vllm_surface.ReliedFields("vllm.v1.nowhere", "Thing", ("field",), "read")
    monkeypatch.setattr(vllm_surface, "FUNCTIONS", (moved, renamed))
    monkeypatch.setattr(vllm_surface, "FIELDS", (shorter, elsewhere))
    with pytest.raises(UnsupportedEngine) as refusal:
        check_surface(Without(worker.model_runner, "dtype"))
    for message in (
        "vllm.v1.sample.sampler.Sampler.gone (to do this)",
        "parameter 'metadata' of vllm.v1.sample.sampler.Sampler.forward (to do that)",
        "vllm.v1.worker.gpu_model_runner.ExecuteModelState.gone (to read)",
        "vllm.v1.nowhere.Thing (to read)",
        "Without.dtype",
        "Install vllm==0.32.0",
    ):
        assert message in str(refusal.value)


def test_releases_nobody_ran_are_tried_with_a_warning_and_unknown_ones_refused(
    worker: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("esamp").propagate = True
    with caplog.at_level("WARNING"):
        adapter.check_engine(worker)
        adapter.check_runner(worker)
        assert not caplog.records
        for checked in ("0.29.1+cpu", "0.33.0"):
            monkeypatch.setattr(vllm, "__version__", checked)
            adapter.check_engine(worker)
            adapter.check_runner(worker)
            assert f"{checked} has every name it needs, and is untested" in caplog.text
    for unknown in ("0.25.9", "0.34.0", "1.26.0"):
        monkeypatch.setattr(vllm, "__version__", unknown)
        with pytest.raises(UnsupportedEngine, match=f"esamp knows vLLM 0.26 to 0.33; this is {unknown}"):
            adapter.check_engine(worker)


def fake_worker(**changes: Any) -> Any:
    """What check_engine reads of a worker whose engine cannot be built here."""
    parallel = SimpleNamespace(
        pipeline_parallel_size=changes.pop("pipeline_parallel_size", 1),
        tensor_parallel_size=changes.pop("tensor_parallel_size", 1),
    )
    config = SimpleNamespace(parallel_config=parallel, speculative_config=changes.pop("speculative_config", None))
    return SimpleNamespace(**{"vllm_config": config, "use_v2_model_runner": False, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"use_v2_model_runner": True},
            "V1 model runner; this engine uses V2, the default on CUDA. .* VLLM_USE_V2_MODEL_RUNNER=0",
        ),
        ({"speculative_config": object()}, "does not support speculative decoding; leave speculative_config out"),
        ({"tensor_parallel_size": 2}, "got tensor_parallel_size=2 on a CPU"),
        ({"pipeline_parallel_size": 2}, "got pipeline_parallel_size=2"),
    ],
    ids=["V2", "speculative", "TP", "PP"],
)
def test_engines_that_cannot_be_built_here_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedEngine, match=message):
        adapter.check_engine(fake_worker(**changes))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=2, n_positions=256),
            "GPT2LMHeadModel has no auxiliary hidden states .* use a model that has them .* or sampler=vanilla",
        ),
        (
            GPTNeoXConfig(
                vocab_size=128,
                hidden_size=64,
                intermediate_size=96,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=256,
            ),
            "TransformersForCausalLM has no final norm at model.norm",
        ),
    ],
    ids=["no shallow state", "no final norm"],
)
def test_a_model_that_shows_too_little_is_refused_unless_nothing_explores(
    config: PretrainedConfig, message: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedEngine, match=message):
        start_engine(tmp_path, {"beta": 0.5})
    vanilla = start_engine(tmp_path, {"beta": 0.0})
    assert len(generate(vanilla, [(PROMPTS[0], params(seed=1))])[0][0]) == 24


@pytest.mark.parametrize("layer", [3, 7])
def test_a_source_layer_the_model_does_not_have_is_refused(layer: int, tiny_model: Path) -> None:
    with pytest.raises(UnsupportedEngine, match=f"source_layer must be below the model's 3 layers; got {layer}"):
        start_engine(tiny_model, {"beta": 0.5, "source_layer": layer})


def test_soft_capped_logits_are_refused(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixing hidden states before a soft cap is not fusing logits after it."""
    monkeypatch.setattr(worker.model_runner.get_model().logits_processor, "soft_cap", 30.0)
    with pytest.raises(UnsupportedEngine, match="soft-caps its logits; esamp was not tested there"):
        adapter.enable_source_layer(worker, 1)


def test_a_quantised_head_is_refused(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rounded:
        """Stands for any quantisation method."""

    monkeypatch.setattr(worker.model_runner.get_model().lm_head, "quant_method", Rounded())
    with pytest.raises(UnsupportedEngine, match=r"lm_head is quantised \(Rounded\)"):
        adapter.check_head(worker)
    assert adapter.plain_head_weight(worker) is None


def test_somebody_elses_sampler_is_not_replaced(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedEngine, match="replaces vLLM's own V1 sampler; this engine has ESampSampler"):
        adapter.install_sampler(worker)


@pytest.mark.parametrize("model", ["tiny_model", "tied_model"])
def test_a_plain_heads_weights_give_the_heads_logits_and_no_more(model: str, request: pytest.FixtureRequest) -> None:
    """Without vLLM's padding, whose weights are zero: a softmax over them would see tokens that do not exist."""
    engine = start_engine(request.getfixturevalue(model), {"beta": 0.5})
    [[weight_VH, hidden, logits]] = engine.collective_rpc(
        lambda wrapper: (
            adapter.plain_head_weight(wrapper.worker),
            hidden := torch.randn(5, 64),
            wrapper.worker.model_runner.get_model().compute_logits(hidden),
        )
    )
    torch.testing.assert_close(hidden @ weight_VH.T, logits)


def test_lora_is_refused_where_predictions_go_through_the_head() -> None:
    """vLLM pads the head of an engine with LoRA: the first fused step ended in an einsum of other sizes."""
    worker = SimpleNamespace(vllm_config=SimpleNamespace(lora_config=object()))
    with pytest.raises(UnsupportedEngine, match="policy quasi does not support LoRA; merge the adapter"):
        adapter.check_no_lora(worker, "quasi")
    adapter.check_no_lora(SimpleNamespace(vllm_config=SimpleNamespace(lora_config=None)), "quasi")
