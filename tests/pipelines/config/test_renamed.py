"""Old names of settings: refused on the command line and in YAML files with the new one, kept in run.json."""

from dataclasses import fields
from pathlib import Path

import pytest

from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.renamed import RENAMED, check_options, from_stored, to_stored
from pipelines.config.run import RunConfig
from pipelines.config.yaml_flags import flags_from_yaml, flatten
from pipelines.errors import InputError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--part", "--partition"),
        ("--part-by", "--partition-by"),
        ("--samples-per-unit", "--samples-per-work-unit"),
        ("--units-per-part=4", "--work-units-per-file"),
        ("--unit-attempts", "--work-unit-attempts"),
        ("--no-spill", "--no-spread"),
        ("--stop.hopeless", "--stop.give-up-after"),
        ("--run.stop.hopeless=4", "--run.stop.give-up-after"),
    ],
)
def test_an_option_in_its_old_spelling_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(InputError, match=f"^{old.partition('=')[0]} is now {new}; use that name.$"):
        check_options(["--samples", "4", old])


def test_options_of_today_pass() -> None:
    check_options(["runs/part", "--partition", "2/4", "--no-spread", "--stop.give-up-after", "4", "part"])


def test_a_yaml_file_with_an_old_name_is_refused_with_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("stop: {successes: 1, hopeless: 4}\n")
    with pytest.raises(InputError, match=r"run\.yaml: stop\.hopeless is now stop\.give_up_after"):
        flags_from_yaml(file)


def test_every_new_name_is_a_setting_and_no_old_name_is() -> None:
    names = {*flatten(RunConfig(sampler="esamp").to_dict()), *(field.name for field in fields(RunConfig))}
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names


def test_stored_names_survive_both_ways() -> None:
    config = RunConfig(sampler="esamp", stop=StoppingConfig(successes=1, give_up_after=4), partition="2/4")
    stored = to_stored(config.to_dict())
    assert stored["stop"]["hopeless"] == 4 and stored["part"] == "2/4" and "partition" not in stored
    assert RunConfig.from_dict(from_stored(stored)) == config
