"""A run's settings: what is refused, what makes two runs the same, and YAML as flags."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.config import EngineConfig, ExchangeConfig, SamplingConfig
from esamp.config import ESampConfig
from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.identity import config_hash
from pipelines.config.run import RunConfig
from pipelines.config.yaml_flags import flags_from_yaml
from pipelines.errors import InputError
from pipelines.verifiers.settings import verifier_settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 4, "pass_at": (2, 8)}, "k=8 with samples=4"),
        ({"samples": 4, "pass_at": (0,)}, "k=0"),
        ({"samples": 0}, "samples must be >= 1; got 0"),
        ({"limit": 0}, "limit must be >= 1"),
        ({"shards": 0}, "shards must be >= 1"),
        ({"template": "Solve this"}, "template must contain"),
        ({"verifier": "maths"}, "got 'maths'"),
        ({"verifier_timeout_s": float("inf")}, "verifier_timeout_s"),
        ({"samples_per_work_unit": 0}, "samples_per_work_unit"),
        (
            {"stop": StoppingConfig(successes=3, give_up_after=2)},
            r"successes <= stop.give_up_after <= samples; got 3, 2 and 16",
        ),
        ({"stop": StoppingConfig(successes=1, give_up_after=32)}, r"got 1, 32 and 16"),
        ({"stop": StoppingConfig(successes=1, give_up_after=4), "pass_at": (8,)}, r"given up after 4 samples.*k=8"),
        ({"stop": StoppingConfig(successes=1), "verifier": "none"}, "stop.successes needs a verifier"),
        ({"stop": StoppingConfig(successes=1), "sampler": "quasi"}, "exchangeable samples.*sampler quasi"),
        ({"trainers": 0}, "trainers must be >= 1"),
        ({"trainers": 2, "esamp": ESampConfig(trainer="local")}, "trainers=2 needs esamp.trainer actor; got 'local'"),
        ({"trainers": 2, "esamp": ESampConfig(trainer="actor", scope="cluster")}, "'cluster' has one Distiller"),
        ({"trainers": 3, "esamp": ESampConfig(trainer="actor", scope="prior")}, "'prior' has one .* got trainers=3"),
    ],
)
def test_a_setting_outside_its_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunConfig(**{"sampler": "esamp", **settings})  # type: ignore[arg-type]


def test_where_a_run_runs_does_not_change_its_hash() -> None:
    here = RunConfig(sampler="esamp")
    there = RunConfig(
        sampler="esamp",
        shards=8,
        trainers=4,
        output=Path("x"),
        pass_at=(1,),
        engine=EngineConfig(num_gpus=1, kv_cache_gib=4.0),
    )
    assert config_hash(here) == config_hash(there)


@pytest.mark.parametrize(
    "changed",
    [
        RunConfig(sampler="esamp", sampling=SamplingConfig(temperature=0.7)),
        RunConfig(sampler="esamp", sampling=SamplingConfig(stop=("\n\n",))),
        RunConfig(sampler="esamp", esamp=ESampConfig(trainer="actor", beta=0.5)),
        RunConfig(sampler="esamp", seed=1),
        RunConfig(sampler="esamp", samples=8),
        RunConfig(sampler="esamp", verifier="exact"),
        RunConfig(sampler="esamp", stop=StoppingConfig(successes=1)),
        RunConfig(sampler="esamp", exchange=ExchangeConfig(backpressure="uniform")),
    ],
)
def test_what_decides_samples_and_verdicts_changes_the_hash(changed: RunConfig) -> None:
    assert config_hash(changed) != config_hash(RunConfig(sampler="esamp"))


@pytest.mark.parametrize(
    ("verifier", "seconds"), [("code", 10.0), ("math", 30.0), ("my.module:verify", 30.0), ("judge", 60.0)]
)
def test_a_verifier_has_its_own_time_limit_unless_the_run_names_one(verifier: str, seconds: float) -> None:
    judge = {"judge_url": "http://localhost:8000/v1", "judge_model": "m"}
    usual = RunConfig(verifier=verifier, **judge)  # type: ignore[arg-type]
    assert usual.verdict_timeout_s == verifier_settings(usual).timeout_s == seconds
    assert config_hash(usual) == config_hash(replace(usual, verifier_timeout_s=seconds))
    assert config_hash(usual) != config_hash(replace(usual, verifier_timeout_s=5.0))


def test_esamp_settings_do_not_matter_to_a_vanilla_run() -> None:
    strong = RunConfig(
        sampler="vanilla", trainers=2, esamp=ESampConfig(beta=2.0), exchange=ExchangeConfig(backpressure="uniform")
    )
    assert config_hash(strong) == config_hash(RunConfig(sampler="vanilla"))
    assert strong.beta == 0


def test_half_a_stopping_rule_is_refused() -> None:
    with pytest.raises(InputError, match=r"give --stop\.successes"):
        StoppingConfig(give_up_after=16)
    with pytest.raises(InputError, match="successes must be >= 1; got 0"):
        StoppingConfig(successes=0)


def test_a_config_survives_its_dictionary() -> None:
    config = RunConfig(
        sampler="esamp",
        output=Path("runs/x"),
        pass_at=(1, 2),
        sampling=SamplingConfig(top_k=5),
        stop=StoppingConfig(successes=2),
    )
    assert RunConfig.from_dict(config.to_dict()) == config


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'sample'; known are .*samples"):
        RunConfig.from_dict({"sample": 3})


def test_yaml_stands_for_flags(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "samples: 64\nchat: false\npass_at: [1, 8]\nlimit: null\nengine:\n  num_gpus: 1\n  enforce_eager: true\n"
    )
    plain = ["--samples", "64", "--no-chat", "--pass-at", "1", "8", "--limit", "None"]
    assert flags_from_yaml(file) == [*plain, "--engine.num-gpus", "1", "--engine.enforce-eager"]


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("- a\n- b\n", "holds a list"), (None, "cannot be read")]
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "run.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=message):
        flags_from_yaml(file)


def test_the_run_folder_is_named_after_the_run() -> None:
    assert RunConfig(dataset="HuggingFaceH4/MATH-500", sampler="vanilla", seed=3).run_folder == Path(
        "runs/MATH-500-vanilla-3"
    )
    assert RunConfig(sampler="esamp", dataset="data/train.v2.jsonl").run_folder == Path("runs/train.v2-esamp-0")


def test_samples_spread_over_several_shards_where_they_exceed_a_batch_or_the_user_asks() -> None:
    few, many = {"samples": 64}, {"samples": 100}
    assert not RunConfig(**few, sampler="vanilla").spreads
    assert RunConfig(**many, sampler="vanilla").spreads
    assert RunConfig(**many, sampler="vanilla").work_unit_size == 64, "a shard's batch"
    assert RunConfig(**few, sampler="vanilla", samples_per_work_unit=16, spread=True).spreads
    with pytest.raises(InputError, match="all its 64 samples are one work unit"):
        RunConfig(**few, sampler="vanilla", spread=True)
    assert not RunConfig(**many, sampler="vanilla", spread=False).spreads
    assert RunConfig(**many, sampler="esamp", esamp=ESampConfig(trainer="actor")).spreads
    assert not RunConfig(**many, sampler="esamp", esamp=ESampConfig(trainer="local")).spreads, (
        "its Distillers are a shard's own"
    )
    with pytest.raises(InputError, match=r"esamp.trainer local; give --esamp.trainer actor"):
        RunConfig(**few, sampler="esamp", esamp=ESampConfig(trainer="local"), spread=True)
    assert RunConfig(**many, sampler="quasi").spreads, "a code depends on the sample's index alone"
    for sampler in ("latent", "novelty", "trie", "override"):
        with pytest.raises(InputError, match=f"share with sampler {sampler} stays in one engine. Leave spread out"):
            RunConfig(**few, sampler=sampler, samples_per_work_unit=16, spread=True)


@pytest.mark.parametrize(("num_gpus", "tensor_parallel"), [(0, 1), (0.5, 1), (1, 1), (4, 4)])
def test_a_shard_takes_no_gpu_a_part_of_one_or_several(num_gpus: float, tensor_parallel: int) -> None:
    assert EngineConfig(num_gpus=num_gpus).tensor_parallel_size == tensor_parallel


@pytest.mark.parametrize("num_gpus", [-1, 1.5, 2.25])
def test_gpus_that_cannot_be_split_are_refused(num_gpus: float) -> None:
    with pytest.raises(ValueError, match=f"a whole number of GPUs; got {num_gpus:g}"):
        EngineConfig(num_gpus=num_gpus)


def test_a_tensor_parallel_shard_has_its_distillers_for_itself() -> None:
    with pytest.raises(InputError, match=r"which a trainer actor cannot reach. Use --esamp.trainer local"):
        RunConfig(sampler="esamp", engine=EngineConfig(num_gpus=2), esamp=ESampConfig(trainer="actor"))
    assert (
        RunConfig(
            sampler="esamp", engine=EngineConfig(num_gpus=2), esamp=ESampConfig(trainer="local")
        ).shard.engine.num_gpus
        == 2
    )


def test_settings_of_another_sampler_are_refused_with_the_samplers_that_have_them() -> None:
    RunConfig(sampler="frozen", esamp=ESampConfig(trainer="local")).check_sampler_settings()
    RunConfig(sampler="vanilla").check_sampler_settings()
    with pytest.raises(
        InputError, match=r"esamp.beta: not a setting of sampler quasi; .* --sampler esamp or subtraction"
    ):
        RunConfig(esamp=ESampConfig(trainer="auto", beta=0.5)).check_sampler_settings()
