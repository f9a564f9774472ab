"""A run folder that an older version wrote, under the names that settings had then, is read as before and goes on.

old_run/ was made at commit 4981a46 with the embedded model:

    python -m jobs.passk --limit 2 --samples 2 --sampler esamp --engine.dtype float32 --engine.kv-cache-gib 0.25 --engine.enforce-eager
        --part 1/1 --part-by problems --unit-attempts 2 --units-per-part 2 --stop.successes 2 --stop.hopeless 2 --samples-per-unit 1
        --sampling.max-tokens 24
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.identity import config_hash
from pipelines.config.yaml_flags import flatten
from pipelines.runs.folder import RunFolder
from pipelines.runs.manifest import Manifest
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.runs.summary import read_summary, summarise

OLD_RUN = Path(__file__).with_name("old_run")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    shutil.copytree(OLD_RUN, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_settings_of_an_old_run_are_read_under_their_new_names(folder: RunFolder) -> None:
    config = folder.manifest().config
    assert (config.partition, config.partition_by, config.samples_per_work_unit) == ("1/1", "problems", 1)
    assert (config.work_units_per_file, config.work_unit_attempts, config.spread) == (2, 2, None)
    assert config.stop == StoppingConfig(successes=2, give_up_after=2)


def test_an_old_run_json_is_written_with_the_keys_and_the_hash_it_had(folder: RunFolder) -> None:
    """Settings that came later are written beside those that it had, and do not change what run it is."""
    before = json.loads((OLD_RUN / "run.json").read_text())
    written = json.loads(folder.manifest().to_json())
    old_settings, settings = flatten(before.pop("config")), flatten(written.pop("config"))
    assert written == before
    assert {name: settings[name] for name in old_settings} == old_settings
    assert before["config_hash"] == config_hash(folder.manifest().config)


def test_a_setting_that_came_later_makes_another_run_once_it_is_used(folder: RunFolder) -> None:
    config = folder.manifest().config
    other = replace(config, esamp=replace(config.esamp, source_depth=0.5))
    assert config_hash(other) != config_hash(config)


def test_an_old_run_is_finished_and_summarised_as_it_was(folder: RunFolder) -> None:
    old = json.loads((OLD_RUN / "summary.json").read_text())
    stored = read_summary(folder)
    assert stored.stopping is not None and stored.stopping.give_up_after == old["stopping"]["hopeless"]
    assert folder.count_work_units(folder.manifest()).unfinished == 0
    assert folder.read_samples(STORED_SCHEMA.names).num_rows == 4
    again = summarise(folder)
    assert replace(again, run_folder=stored.run_folder) == stored
    assert read_summary(folder) == again


def test_a_problem_that_was_planned_as_one_work_unit_is_still_read_as_one() -> None:
    """Samples beyond a batch were once planned as one work unit; the plan on disk keeps it, whatever a new plan would do."""
    plain = json.loads((OLD_RUN / "run.json").read_text())
    plain["config"] |= {"samples": 128, "samples_per_unit": None, "stop": {"successes": None, "hopeless": None}}
    plain["config"]["sampler"] = "vanilla"
    plain["num_units"] = plain["num_problems"]
    assert Manifest.from_json(json.dumps(plain)).group_sizes == [128]
    plain["num_units"] = 2 * plain["num_problems"]
    assert Manifest.from_json(json.dumps(plain)).group_sizes == [64, 64]
