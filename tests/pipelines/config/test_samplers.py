"""The samplers: named once, each different from the others in what it says it is."""

from dataclasses import replace

import pytest

from actors.config import SamplingConfig
from esamp.baselines.config import OverrideConfig
from esamp.config import ESampConfig
from jobs.compare import CompareCommand, comparison_runs
from pipelines.config.identity import settings_that_matter
from pipelines.config.run import EMBEDDED_MODEL, RunConfig
from pipelines.config.samplers import SAMPLERS, Sampler
from pipelines.errors import InputError


def test_a_sampler_that_is_not_in_the_registry_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"sampler must be one of vanilla, .*, vocabulary; got 'best'"):
        RunConfig(sampler="best")


def test_one_entry_adds_a_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings, its prompt and its sampling parameters reach the run; nothing else knows its name."""
    hot = Sampler(
        about="toy: twice as hot, away from the one before",
        config=OverrideConfig,
        sampling=lambda sampling, config: replace(sampling, temperature=2 * sampling.temperature),
    )
    monkeypatch.setitem(SAMPLERS, "hot", hot)
    config = RunConfig(sampler="hot", override=OverrideConfig(rounds=3))
    assert config.effective_sampling.temperature == 2 * config.sampling.temperature
    assert config.policy == OverrideConfig(rounds=3)
    assert settings_that_matter(config)["override.rounds"] == 3 and "esamp.beta" not in settings_that_matter(config)
    assert [run.sampler for run in comparison_runs(CompareCommand(samplers=("vanilla", "hot")))] == ["vanilla", "hot"]


def test_no_two_samplers_are_the_same() -> None:
    """Tree of Thoughts draws as vanilla does; its prompt differs."""
    configs = [RunConfig(sampler=name) for name in SAMPLERS if name != "tree-of-thoughts"]
    assert len({(config.effective_sampling, config.policy) for config in configs}) == len(configs)


def test_the_sharpened_control_divides_the_temperature() -> None:
    config = RunConfig(
        sampler="sharpened", sampling=SamplingConfig(temperature=0.8), esamp=ESampConfig(beta=0.6, trainer="actor")
    )
    assert config.effective_sampling.temperature == pytest.approx(0.5)
    assert config.policy is None and config.beta == 0


@pytest.mark.parametrize(
    ("name", "field", "usual"), [("top-p", "top_p", 0.95), ("top-k", "top_k", 50), ("min-p", "min_p", 0.1)]
)
def test_filters_take_the_usual_value_unless_one_is_given(name: str, field: str, usual: float) -> None:
    own = {"top_p": 0.5, "top_k": 7, "min_p": 0.3}[field]
    assert getattr(RunConfig(sampler=name).effective_sampling, field) == usual
    assert getattr(RunConfig(sampler=name, sampling=SamplingConfig(**{field: own})).effective_sampling, field) == own


def test_controls_change_one_thing_of_the_esamp_they_control() -> None:
    esamp = ESampConfig(beta=0.4, inner_width=12, trainer="local")
    changed = {
        "subtraction": {"fusion": "subtraction"},
        "entropy-matched": {"fusion": "entropy_matched"},
        "frozen": {"trainer": "none"},
        "running-mean": {"prediction": "running_mean"},
        "shuffled": {"prediction": "shuffled"},
        "noise": {"prediction": "noise"},
        "vocabulary": {"prediction": "vocabulary"},
    }
    for name, difference in changed.items():
        assert RunConfig(sampler=name, esamp=esamp).policy == replace(esamp, **difference), name


@pytest.mark.parametrize("section", ["esamp", "quasi", "latent", "novelty", "trie", "fire", "override", "contrastive"])
def test_a_run_depends_on_the_settings_of_its_own_sampler_only(section: str) -> None:
    for name in SAMPLERS:
        names = settings_that_matter(RunConfig(sampler=name))
        assert any(setting.startswith(f"{section}.") for setting in names) == (
            RunConfig(sampler=name).sampler_section == section
        ), name


def test_the_amateur_may_be_the_embedded_model() -> None:
    config = RunConfig(sampler="contrastive")
    embedded = replace(config, contrastive=replace(config.contrastive, amateur="embedded"))
    assert embedded.policy is not None and embedded.policy.to_dict()["amateur"] == str(EMBEDDED_MODEL)
