"""The rows of each format, in the words of its trainers. That trainers load them is tested in test_trainers.py."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from actors.config import SamplingConfig
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import export_rollouts
from pipelines.rollouts.formats.canonical import SCHEMA
from pipelines.rollouts.formats.prime_rl import TrainingSample
from pipelines.rollouts.formats.registry import FORMATS, trainer_commands
from pipelines.rollouts.formats.verl import generation_batch
from pipelines.rollouts.stored_samples import StoredSamples
from pipelines.runs.folder import RunFolder
from tests.pipelines.stored_rows import make_run, row, wrong

PAGE = Path(__file__).resolve().parents[3] / "docs" / "rollouts.md"
TEXT = RunConfig(sampler="esamp", samples=2, template="{problem}", sampling=SamplingConfig(max_tokens=4))
CHAT = RunConfig(sampler="esamp", samples=2, dataset="own.jsonl", template="Please {problem}")
CHAT_PROMPT = "<user>Please say 0<assistant>"


def text_run(path: Path) -> RunFolder:
    """A mixed group and a group with one sample, prompted with plain text."""
    return make_run(path / "run", TEXT, [[row(0, 0), wrong(0, 1, text="1", token_ids=[4, 5])], [row(1, 0)]])


def chat_run(path: Path) -> RunFolder:
    """A mixed group, prompted through a chat template."""
    rows = [row(0, 0, prompt=CHAT_PROMPT), wrong(0, 1, prompt=CHAT_PROMPT, text="1")]
    return make_run(path / "run", CHAT, [rows], num_problems=1)


def exported(folder: RunFolder, format_name: str, output: Path, **settings: Any) -> list[dict[str, Any]]:
    """The rows of a format in Parquet."""
    export_rollouts(folder, output, ExportConfig(format=format_name, **settings))
    return pq.read_table(output).to_pylist()


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def assistant(content: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": content}]


def test_prompts_are_one_row_for_each_problem(tmp_path: Path) -> None:
    rows = exported(text_run(tmp_path), "prompts", tmp_path / "prompts.parquet", data_source="own")
    assert len(rows) == 2
    assert rows[1] == {
        "data_source": "own",
        "prompt": user("say 0"),
        "reward_model": {"style": "rule", "ground_truth": "1"},
        "extra_info": {"index": 1, "group_id": "p1", "problem": "say 0"},
        "env_class": "own",
        "messages": user("say 0"),
        "ground_truth": "1",
        "dataset": "own",
    }


def test_sft_has_correct_answers_as_text_or_as_chat(tmp_path: Path) -> None:
    rows = exported(text_run(tmp_path / "text"), "sft", tmp_path / "text.parquet")
    assert rows == [{"prompt": "say 0", "completion": "0", "group_id": f"p{p}"} for p in range(2)]
    rows = exported(chat_run(tmp_path / "chat"), "sft", tmp_path / "chat.parquet")
    asked, answered = user("Please say 0"), assistant("0")
    assert rows == [{"prompt": asked, "completion": answered, "messages": asked + answered, "group_id": "p0"}]


def test_sft_tokens_are_those_that_were_drawn_and_only_the_response_is_learned(tmp_path: Path) -> None:
    rows = exported(text_run(tmp_path), "sft-tokens", tmp_path / "tokens.parquet")
    assert rows[0] == {
        "input_ids": [1, 2, 3],
        "labels": [-100, 2, 3],
        "completion_mask": [0, 1, 1],
        "loss_mask": [0, 1, 1],
        "group_id": "p0",
    }


def test_pairs_are_of_one_group_and_no_answer_is_in_two(tmp_path: Path) -> None:
    rows = [
        row(0, 0),
        wrong(0, 1, text="1"),
        row(0, 2, text="00"),
        wrong(0, 3, text="2"),
        wrong(0, 4, text="3"),
        row(1, 0),
    ]
    folder = make_run(tmp_path / "run", RunConfig(sampler="esamp", samples=5, template="{problem}"), [rows])
    pairs = exported(folder, "pairs", tmp_path / "pairs.parquet")
    assert [(p["chosen"], p["rejected"]) for p in pairs] == [("0", "1"), ("00", "2")]
    assert {p["prompt"] for p in pairs} == {"say 0"}
    pairs = exported(chat_run(tmp_path / "chat"), "pairs", tmp_path / "chat.parquet")
    assert pairs[0]["chosen"] == assistant("0") and pairs[0]["rejected_text"] == "1"


def test_kto_labels_say_what_is_correct(tmp_path: Path) -> None:
    rows = exported(text_run(tmp_path), "kto", tmp_path / "kto.parquet")
    assert [(r["completion"], r["label"]) for r in rows] == [("0", True), ("1", False), ("0", True)]


def test_slime_steps_hold_complete_groups_in_order(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        TEXT,
        [[row(p, 0), wrong(p, 1, finish_reason="length")] for p in range(3)] + [[row(3, 0)]],
        num_problems=4,
    )
    summary = export_rollouts(folder, tmp_path / "dump", ExportConfig(format="slime", groups_per_step=2))
    assert summary.rows == 4 and summary.dropped["groups that are not complete, which format slime cannot take"] == 1
    said = json.loads((tmp_path / "dump" / "export.json").read_text())
    assert (said["steps"], said["groups_left_over"]) == (1, 1)
    dump = torch.load(tmp_path / "dump" / "0.pt", weights_only=False)
    assert dump["rollout_id"] == 0
    assert [(s["group_index"], s["index"], s["status"]) for s in dump["samples"]] == [
        *((0, 0, "completed"), (0, 1, "truncated")),
        *((1, 2, "completed"), (1, 3, "truncated")),
    ]
    first = dump["samples"][0]
    assert first["tokens"] == [1, 2, 3] and first["response_length"] == 2 and first["loss_mask"] == [1, 1]
    assert first["rollout_log_probs"] == [-1.0, -2.0] and first["reward"] == 1.0 and first["label"] == "0"
    assert "rollout_top_p_token_ids" not in first


def test_slime_is_given_what_a_filter_left_at_each_draw(tmp_path: Path) -> None:
    """slime masks its own logits by them: kept tokens of draw t are ids[offsets[t]:offsets[t + 1]]."""
    kept = {"kept_token_ids": [2, 3, 5], "kept_token_offsets": [0, 1, 3], "kept_tokens_capped": False}
    config = replace(TEXT, sampling=SamplingConfig(top_p=0.9, max_tokens=4))
    folder = make_run(tmp_path / "run", config, [[row(0, 0, **kept), wrong(0, 1, **kept)]], num_problems=1)
    export_rollouts(folder, tmp_path / "dump", ExportConfig(format="slime", groups_per_step=1))
    for sample in torch.load(tmp_path / "dump" / "0.pt", weights_only=False)["samples"]:
        assert sample["rollout_top_p_token_ids"] == [2, 3, 5]
        assert sample["rollout_top_p_token_offsets"] == [0, 1, 3]
        assert len(sample["rollout_top_p_token_offsets"]) == sample["response_length"] + 1


def test_a_step_that_no_run_fills_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="a step takes 2 complete groups, and there are 1; give a smaller --groups-per-step"
    ):
        export_rollouts(text_run(tmp_path), tmp_path / "dump", ExportConfig(format="slime", groups_per_step=2))
    assert not (tmp_path / "dump").exists()


def test_prime_rl_samples_cover_prompt_and_response(tmp_path: Path) -> None:
    config = ExportConfig(format="prime-rl", groups_per_step=1, data_source="own")
    export_rollouts(text_run(tmp_path), tmp_path / "samples", config)
    samples = msgspec.msgpack.decode((tmp_path / "samples" / "0.bin").read_bytes(), type=list[TrainingSample])
    assert samples[0].token_ids == [1, 2, 3] and samples[0].mask == [False, True, True]
    assert samples[0].logprobs == [0.0, -1.0, -2.0] and samples[0].temperatures == [1.0] * 3
    assert samples[0].advantages == pytest.approx([0.0, 0.5**0.5, 0.5**0.5], abs=1e-3)
    assert samples[0].env_name == "own" and len(samples) == 2
    assert len(msgspec.msgpack.decode((tmp_path / "samples" / "1.bin").read_bytes(), type=list[TrainingSample])) == 1


def test_prime_rl_needs_advantages_and_keeps_a_name_for_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format prime-rl carries advantages"):
        ExportConfig(format="prime-rl", advantages="none")
    with pytest.raises(InputError, match="keeps the environment name 'all'"):
        export_rollouts(text_run(tmp_path), tmp_path / "x", ExportConfig(format="prime-rl", data_source="all"))


def test_a_verl_batch_pads_prompts_on_the_left_and_responses_on_the_right(tmp_path: Path) -> None:
    (group, *_) = StoredSamples(text_run(tmp_path)).groups()
    batch = generation_batch([group], prompt_length=3, response_length=4)
    assert batch["prompts"].tolist() == [[0, 0, 1]] * 2
    assert batch["responses"].tolist() == [[2, 3, 0, 0], [4, 5, 0, 0]]
    assert batch["response_mask"].tolist() == [[1, 1, 0, 0]] * 2
    assert batch["attention_mask"][0].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert batch["position_ids"][0].tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert batch["rollout_log_probs"][0].tolist() == [-1.0, -2.0, 0.0, 0.0]
    assert batch["rm_scores"].tolist() == [[0.0, 1.0, 0.0, 0.0], [0.0] * 4]
    assert batch["input_ids"].dtype == np.int64
    with pytest.raises(InputError, match="the prompt of p0 has 1 tokens and prompt_length is 0"):
        generation_batch([group], prompt_length=0, response_length=4)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    with pytest.raises(InputError, match="exists, and this format writes a folder"):
        export_rollouts(text_run(tmp_path), tmp_path / "dump", ExportConfig(format="slime", groups_per_step=1))


def test_unknown_formats_and_misplaced_options_are_refused() -> None:
    with pytest.raises(InputError, match="format must be one of canonical, prompts"):
        ExportConfig(format="tfrecord")
    with pytest.raises(InputError, match=r"format sft has no place for a rollout without a reward.*use canonical"):
        ExportConfig(format="sft", keep_failures=True)


def test_the_page_has_every_format_and_every_canonical_column() -> None:
    page = PAGE.read_text()
    assert [name for name in FORMATS if f"| `{name}` |" not in page] == []
    columns = set(re.findall(r"`(\w+)`", page.partition("## The canonical schema")[2].partition("\n## ")[0]))
    assert [name for name in SCHEMA.names if name not in columns] == []


def test_help_names_the_file_for_each_trainer_of_each_format() -> None:
    commands = trainer_commands()
    assert all(f"    {name:<11} " in commands for name in FORMATS)
    assert {"TRL", "verl", "OpenRLHF", "SkyRL", "slime", "prime-rl", "NeMo-RL", "open-instruct"} <= set(
        re.findall(r"[\w-]+", commands)
    )
