"""A run to rollouts: what every format is given, what is counted, and what stands in the file's metadata."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.config import SamplingConfig
from pipelines.config.early_stopping import StoppingConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.rollouts.config import ExportConfig, FilterConfig
from pipelines.rollouts.export import ExportSummary, export_rollouts
from pipelines.rollouts.formats.writer import METADATA_KEY
from pipelines.rollouts.stored_samples import StoredSamples
from pipelines.runs.folder import RunFolder
from pipelines.runs.schema import ADDED_COLUMNS
from tests.pipelines.stored_rows import failed, make_run, row, wrong

CONFIG = RunConfig(sampler="esamp", samples=2)
FILTERED = RunConfig(sampler="esamp", samples=2, sampling=SamplingConfig(temperature=0.7, top_p=0.9))
Rows = list[dict[str, Any]]


def export(folder: RunFolder, output: Path, **settings: Any) -> tuple[ExportSummary, Rows]:
    """The summary and the rows of an export to Parquet."""
    summary = export_rollouts(folder, output, ExportConfig(**settings))
    return summary, pq.read_table(output).to_pylist()


def test_a_rollout_has_tokens_log_probabilities_reward_and_group(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[wrong(0, 1), row(0, 0)], [row(1, 0)]])
    summary, rows = export(folder, tmp_path / "out" / "rollouts.parquet")
    assert [(r["group_id"], r["sample_index"]) for r in rows] == [("p0", 0), ("p0", 1), ("p1", 0)]
    expected = {
        "prompt": "say 0",
        "messages": None,
        "prompt_token_ids": [1],
        "response_token_ids": [2, 3],
        "completion_mask": [0, 1, 1],
        "loss_mask": [0, 1, 1],
        "behaviour_logprobs": [-1.0, -2.0],
        "sampling_logprobs": [-1.0, -2.5],
        "policy_logprobs": [-1.0, -2.5],
        "kept_token_ids": None,
        "finish_reason": "stop",
        "is_truncated": False,
        "verdict_class": "correct",
        "reward": 1.0,
        "group_size": 2,
        "group_complete": True,
        "answer": "0",
        "distiller_version": "abc:1:16",
        "distiller_scope": "prompt",
        "weight_version": "f",
        "model_fingerprint": "f",
    }
    assert {name: rows[0][name] for name in expected} == expected
    assert [r["advantage"] for r in rows] == pytest.approx([0.5**0.5, -(0.5**0.5), 0.0], abs=1e-3)
    assert [r["group_complete"] for r in rows] == [True, True, False]
    assert (summary.rows, summary.groups, summary.mixed_groups, summary.incomplete_groups) == (3, 2, 1, 1)


def test_the_metadata_says_where_the_rollouts_are_from_and_how_far_off_the_policy(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=1)
    output = tmp_path / "rollouts.parquet"
    summary, _ = export(folder, output)
    said = json.loads(pq.read_metadata(output).metadata[METADATA_KEY.encode()])
    assert said["schema_version"] == 2 and said["run"]["model_fingerprint"] == "f"
    assert said["summary"]["token_ratios"]["count"] == 4
    assert summary.token_ratios is not None
    assert said["summary"]["token_ratios"]["mean"] == pytest.approx(summary.token_ratios.mean)


def test_a_failure_of_verifier_or_sandbox_is_no_reward_of_0(tmp_path: Path) -> None:
    """With it the other's advantage would not be 0. A failed math verifier says nothing of the answer, whatever its status."""
    failures = [failed(0, 1), wrong(0, 2, status="sandbox_error"), wrong(0, 3, status="timeout")]
    folder = make_run(tmp_path / "run", RunConfig(sampler="esamp", samples=4), [[row(0, 0), *failures]], num_problems=1)
    summary, rows = export(folder, tmp_path / "rollouts.parquet")
    assert [(r["sample_index"], r["advantage"], r["group_complete"]) for r in rows] == [(0, 0.0, False)]
    assert summary.infrastructure_failures == 3 and "3 samples whose verdict or generation failed" in "".join(
        summary.lines()
    )

    summary, rows = export(folder, tmp_path / "all.parquet", keep_failures=True)
    assert [r["verdict_class"] for r in rows] == ["correct", *["infrastructure"] * 3]
    assert [r["reward"] for r in rows] == [1.0, None, None, None]
    assert rows[0]["advantage"] == 0.0 and rows[2]["loss_mask"] == [0, 0, 0] and rows[2]["completion_mask"] == [0, 1, 1]


def test_a_program_that_broke_its_limits_is_wrong(tmp_path: Path) -> None:
    config = RunConfig(sampler="esamp", samples=2, verifier="code")
    folder = make_run(tmp_path / "run", config, [[row(0, 0), wrong(0, 1, status="timeout")]], num_problems=1)
    summary, rows = export(folder, tmp_path / "rollouts.parquet")
    assert [r["reward"] for r in rows] == [1.0, 0.0] and summary.infrastructure_failures == 0


def test_leave_one_out_and_no_advantages(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=1)
    _, rows = export(folder, tmp_path / "a.parquet", advantages="leave-one-out")
    assert [r["advantage"] for r in rows] == [1.0, -1.0]
    _, rows = export(folder, tmp_path / "b.parquet", advantages="none")
    assert [r["advantage"] for r in rows] == [None, None]


def test_sampling_log_probabilities_are_taken_where_they_are_known_and_absent_elsewhere(tmp_path: Path) -> None:
    """With a temperature and a filter the plain log-probabilities at temperature 1 are another distribution's. Where no policy took part,
    what was sampled from is the sampling policy itself."""
    rows = [row(0, 0), row(0, 1, intervened_tokens=0)]
    summary, exported = export(make_run(tmp_path / "run", FILTERED, [rows], num_problems=1), tmp_path / "a.parquet")
    assert [r["sampling_logprobs"] for r in exported] == [None, [-1.0, -2.0]]
    assert summary.ratios_unknown == 1 and summary.token_ratios is not None and summary.token_ratios.count == 2
    assert "importance ratios of 1 samples are not known" in "\n".join(summary.lines())


KEPT: dict[str, Any] = {
    "sampling_logprobs": [-0.5, -1.0],
    "kept_token_ids": [2, 3, 5],
    "kept_token_offsets": [0, 1, 3],
    "kept_tokens_capped": False,
}
"""What a filter left at the two draws of a sample."""


def test_stored_sampling_log_probabilities_and_kept_tokens_are_exported(tmp_path: Path) -> None:
    """What `--record-rollouts` stores, in a file beside one from before there were such columns."""
    recorded = row(0, 0, **KEPT)
    folder = make_run(tmp_path / "run", FILTERED, [[recorded], [row(1, 0)]])
    old_file = folder.storage.place("samples/1.parquet")
    pq.write_table(pq.read_table(old_file).drop_columns(list(ADDED_COLUMNS)), old_file)
    _, rows = export(folder, tmp_path / "rollouts.parquet")
    assert rows[0]["sampling_logprobs"] == [-0.5, -1.0]
    assert (rows[0]["kept_token_ids"], rows[0]["kept_token_offsets"]) == ([2, 3, 5], [0, 1, 3])
    assert rows[1]["sampling_logprobs"] is None and rows[1]["kept_token_ids"] is None


@pytest.mark.parametrize(
    ("config", "rows", "settings", "message"),
    [
        (CONFIG, lambda: [row(0, 0, policy_logprobs=[float("nan")] * 2)], {}, "--allow nan"),
        (
            RunConfig(sampler="esamp", samples=8, stop=StoppingConfig(successes=1)),
            lambda: [row(0, 0)],
            {},
            "--allow early-stopped",
        ),
        (FILTERED, lambda: [row(0, 0), wrong(0, 1)], {"format": "slime", "groups_per_step": 1}, "--allow filtered"),
        (FILTERED, lambda: [row(0, 0), wrong(0, 1)], {"format": "prime-rl"}, "no place for the kept tokens"),
        (
            FILTERED,
            lambda: [row(0, 0, **KEPT), wrong(0, 1, **{**KEPT, "kept_tokens_capped": True})],
            {"format": "slime", "groups_per_step": 1},
            "some draw kept more tokens than are stored.*--allow filtered",
        ),
    ],
)
def test_a_wrong_export_is_refused_and_leaves_nothing(
    config: RunConfig, rows: Callable[[], Rows], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", config, [rows()], num_problems=1)
    output = tmp_path / "out"
    with pytest.raises(InputError, match=message) as refusal:
        export_rollouts(folder, output, ExportConfig(**settings))
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    allowed = str(refusal.value).split("--allow ")[1].split()[0]
    assert export_rollouts(folder, output, ExportConfig(**settings, allow=(allowed,))).rows


def test_samples_of_two_weight_versions_are_refused(tmp_path: Path) -> None:
    later = [row(1, index, weight_version="2") for index in (0, 1)]
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)], later])
    with pytest.raises(InputError, match=r"versions of the model's weights \(2, f\).*--allow mixed-weights"):
        export(folder, tmp_path / "rollouts.parquet")
    _, rows = export(folder, tmp_path / "rollouts.parquet", allow=("mixed-weights",))
    assert [r["weight_version"] for r in rows] == ["f", "f", "2", "2"]


def test_samples_behind_an_early_stop_are_not_exported(tmp_path: Path) -> None:
    config = RunConfig(sampler="esamp", samples=8, stop=StoppingConfig(successes=1))
    folder = make_run(tmp_path / "run", config, [[wrong(0, 0), row(0, 1), row(0, 2)]], num_problems=1)
    _, rows = export(folder, tmp_path / "rollouts.parquet", allow=("early-stopped",))
    assert [(r["sample_index"], r["group_complete"]) for r in rows] == [(0, False), (1, False)]
    _, rows = export(folder, tmp_path / "sft.parquet", format="sft")
    assert len(rows) == 1


def test_groups_that_lie_in_several_files_and_portions_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each portion opens the files that hold its samples, and no sample is lost or given twice between portions."""
    monkeypatch.setattr("pipelines.rollouts.stored_samples.PORTION_SAMPLES", 4)
    files = [
        [row(p, 0) for p in (4, 0, 2)],
        [row(p, 1) for p in (1, 4, 0)],
        [row(1, 0), row(3, 0), row(2, 1), row(3, 1)],
    ]
    folder = make_run(tmp_path / "run", CONFIG, files, num_problems=5)
    _, rows = export(folder, tmp_path / "rollouts.parquet")
    assert [(r["group_id"], r["sample_index"]) for r in rows] == [(f"p{p}", n) for p in range(5) for n in range(2)]
    assert {r["answer"] for r in rows} == {str(p) for p in range(5)}


def test_only_the_files_of_the_samples_at_hand_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory must not grow with the run: a file behind the portion is not opened before its turn."""
    monkeypatch.setattr("pipelines.rollouts.stored_samples.PORTION_SAMPLES", 2)
    folder = make_run(tmp_path / "run", CONFIG, [[row(p, 0), row(p, 1)] for p in range(3)], num_problems=3)
    groups = StoredSamples(folder).groups()
    folder.storage.remove("samples/2.parquet")
    assert [next(groups).group_id, next(groups).group_id] == ["p0", "p1"]
    with pytest.raises(FileNotFoundError):
        next(groups)


def test_advantages_are_those_of_the_complete_group_whatever_is_filtered(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=1)
    _, rows = export(folder, tmp_path / "rollouts.parquet", filter=FilterConfig(best=1))
    assert [r["advantage"] for r in rows] == pytest.approx([0.5**0.5], abs=1e-3)


def test_importance_ratios_are_those_of_all_samples_whatever_is_filtered(tmp_path: Path) -> None:
    """Among the correct answers alone the mean ratio is not 1, however right the log-probabilities are."""
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)]], num_problems=1)
    all_samples, _ = export(folder, tmp_path / "a.parquet")
    best, rows = export(folder, tmp_path / "b.parquet", filter=FilterConfig(best=1))
    assert len(rows) == 1 and best.sequence_ratios == all_samples.sequence_ratios


def test_an_export_without_a_row_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[wrong(0, 0), wrong(0, 1)]], num_problems=1)
    with pytest.raises(
        InputError, match="format sft holds correct answers, as chat messages or text; there is none in 1 groups"
    ):
        export(folder, tmp_path / "sft.parquet", format="sft")
    assert not (tmp_path / "sft.parquet").exists()


def test_too_few_mixed_groups_are_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", CONFIG, [[row(0, 0), wrong(0, 1)], [row(1, 0), row(1, 1)]])
    assert export(folder, tmp_path / "a.parquet", filter=FilterConfig(min_mixed_groups=1))[0].mixed_groups == 1
    with pytest.raises(InputError, match=r"1 groups have different rewards and filter\.min_mixed_groups asks for 2"):
        export(folder, tmp_path / "b.parquet", filter=FilterConfig(min_mixed_groups=2))
    assert not (tmp_path / "b.parquet").exists()


def test_nothing_is_written_where_there_is_no_run_and_no_reward(tmp_path: Path) -> None:
    output = tmp_path / "rollouts.parquet"
    with pytest.raises(InputError, match=r"no run\.json"):
        export(RunFolder(tmp_path), output)
    with pytest.raises(InputError, match="no sample of this run has a verdict"):
        export(make_run(tmp_path / "run", CONFIG, [[failed(0, 0)]]), output)
    with pytest.raises(InputError, match="nothing is left to export: 1 responses that are too short"):
        filters = FilterConfig(min_tokens=3)
        export(make_run(tmp_path / "short", CONFIG, [[row(0, 0)]]), output, filter=filters)
    assert not output.exists()
