"""Exported files in the hands of the trainers' own code: loaded, and one training step made.

Each trainer has an environment of its own (environments/make.sh); a test whose environment is absent skips.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.config import SamplingConfig
from pipelines.config.run import EMBEDDED_MODEL, RunConfig
from pipelines.rollouts.config import ExportConfig
from pipelines.rollouts.export import export_rollouts
from pipelines.rollouts.stored_samples import StoredSamples
from pipelines.runs.folder import RunFolder
from tests.pipelines.stored_rows import make_run, row, wrong

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "environments"
MADE = Path(os.environ.get("ESAMP_TRAINER_ENVIRONMENTS", HERE / "made"))
ROOT = Path(__file__).resolve().parents[3]
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% else %}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
"""Of the embedded model's own form, a problem and behind it the answer."""
TEXT = RunConfig(sampler="esamp", samples=2, template="{problem}", sampling=SamplingConfig(max_tokens=8))
CHAT = RunConfig(sampler="esamp", samples=2, dataset="own.jsonl", template="{problem} ")
PROBLEMS = ("3 7 19 25=84:", "2 4 6 8=20:")


def run_in(trainer: str, *command: str) -> Any:
    """What a command of a trainer's environment printed in its last line."""
    python = MADE / trainer / "bin" / "python"
    skip_unless(python, trainer)
    return said_by(str(python), *command, path=str(ROOT))


def load_from_source(verb: str, *command: str) -> Any:
    """What a trainer's own loader, run from its sources by this project's Python, says of an exported file."""
    sources = MADE / "sources"
    skip_unless(sources, verb)
    script = str(HERE / "source_load.py")
    return said_by(sys.executable, script, str(sources), verb, *command, path=f"{ROOT}{os.pathsep}{sources}")


def skip_unless(made: Path, trainer: str) -> None:
    if not made.exists():
        pytest.skip(f"there is no environment of {trainer}; make it with {HERE.relative_to(ROOT)}/make.sh")


def said_by(*command: str, path: str) -> Any:
    """The last line that a command printed, as JSON."""
    settings = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    environment = {**os.environ, **settings, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def countdown_run(path: Path, config: RunConfig) -> RunFolder:
    """Two mixed groups of Countdown problems, in the embedded model's tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    rows = []
    for number, problem in enumerate(PROBLEMS):
        common = {"problem": problem, "prompt": problem, "prompt_token_ids": tokenizer(problem).input_ids}
        for index, (make, text) in enumerate(((row, "3*7=21"), (wrong, "4+6=10"))):
            tokens = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            logprobs = dict.fromkeys(("behaviour_logprobs", "policy_logprobs", "novelty"), [-0.5] * len(tokens))
            rows.append({**make(number, index, text=text, token_ids=tokens, **logprobs), **common})
    return make_run(path, config, [rows])


@pytest.mark.parametrize("kind", ["text", "chat"])
@pytest.mark.parametrize(
    ("method", "format_name"), [("sft", "sft"), ("sft", "sft-tokens"), ("pairs", "pairs"), ("kto", "kto")]
)
def test_trl_trains_a_step(method: str, format_name: str, kind: str, tmp_path: Path) -> None:
    folder = countdown_run(tmp_path / "run", TEXT) if kind == "text" else countdown_run(tmp_path / "run", CHAT)
    output = tmp_path / "rollouts.parquet"
    summary = export_rollouts(folder, output, ExportConfig(format=format_name))
    said = run_in("trl", str(HERE / "trl_step.py"), method, str(output), str(EMBEDDED_MODEL), CHAT_TEMPLATE)
    assert (said["rows"], said["steps"]) == (summary.rows, 1)
    assert 0 < said["loss"] < 20
    if format_name == "sft-tokens":
        rows = pq.read_table(output).to_pylist()
        drawn = [[t for t, m in zip(r["input_ids"], r["loss_mask"], strict=True) if m] for r in rows]
        assert sorted(said["learned"]) == sorted(drawn)


def test_verl_loads_prompts_and_chats(tmp_path: Path) -> None:
    folder = countdown_run(tmp_path / "run", CHAT)
    export_rollouts(folder, tmp_path / "prompts.parquet", ExportConfig(format="prompts", data_source="countdown"))
    export_rollouts(folder, tmp_path / "sft.parquet", ExportConfig(format="sft"))
    common = (str(EMBEDDED_MODEL), CHAT_TEMPLATE)
    said = run_in("verl", str(HERE / "verl_load.py"), "prompts", str(tmp_path / "prompts.parquet"), *common)
    assert said["rows"] == 2 and said["raw_prompt"] == [{"role": "user", "content": f"{PROBLEMS[0]} "}]
    assert said["reward_model"] == {"style": "rule", "ground_truth": "0"} and said["data_source"] == "countdown"
    said = run_in("verl", str(HERE / "verl_load.py"), "chats", str(tmp_path / "sft.parquet"), *common)
    assert said["rows"] == 2 and said["learned"].startswith("3*7=21")


def test_verl_replays_generation_batches(tmp_path: Path) -> None:
    """The export runs in verl's environment, since the dump is a pickle of verl's class."""
    folder = countdown_run(tmp_path / "run", TEXT)
    output = tmp_path / "experiment_project"
    run_in(
        "verl",
        "-c",
        "import json, sys; from pathlib import Path; from pipelines.rollouts.config import ExportConfig; "
        "from pipelines.rollouts.export import export_rollouts; from pipelines.runs.folder import RunFolder; "
        "config = ExportConfig(format='verl', groups_per_step=2, prompt_length=16); "
        "print(json.dumps(export_rollouts(RunFolder(sys.argv[1]), Path(sys.argv[2]), config).rows))",
        str(folder.path),
        str(output),
    )
    said = run_in("verl", str(HERE / "verl_load.py"), "replay", str(output), "2", "2", "16", "8")
    assert [sum(row) for row in said["rm_scores"]] == [1.0, 0.0, 1.0, 0.0] and said["later"] is False
    assert {"prompts", "responses", "response_mask", "input_ids", "position_ids", "rollout_log_probs"} <= set(said)
    assert len(pq.read_table(output / "prompts.parquet")) == 2


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_openrlhf_loads_answers_and_pairs(kind: str, tmp_path: Path) -> None:
    folder = countdown_run(tmp_path / "run", TEXT if kind == "text" else CHAT)
    common = (str(EMBEDDED_MODEL), "" if kind == "text" else CHAT_TEMPLATE)
    export_rollouts(folder, tmp_path / "sft.parquet", ExportConfig(format="sft"))
    said = load_from_source("openrlhf-sft", str(tmp_path / "sft.parquet"), *common)
    assert said["rows"] == 2 and all(text.startswith("3*7=21") and text.endswith("<eos>") for text in said["learned"])
    export_rollouts(folder, tmp_path / "pairs.parquet", ExportConfig(format="pairs"))
    said = load_from_source("openrlhf-pairs", str(tmp_path / "pairs.parquet"), *common)
    assert said["rows"] == 2
    assert all(text.startswith("3*7=21") for text in said["chosen"])
    assert all(text.startswith("4+6=10") for text in said["rejected"])


def test_slime_loads_a_dump(tmp_path: Path) -> None:
    folder = countdown_run(tmp_path / "run", TEXT)
    export_rollouts(folder, tmp_path / "dump", ExportConfig(format="slime", groups_per_step=2))
    said = load_from_source("slime", str(tmp_path / "dump"))
    stored = [rollout for group in StoredSamples(folder).groups() for rollout in group.rollouts]
    assert said["rewards"] == [1.0, 0.0, 1.0, 0.0] and set(said["status"]) == {"completed"}
    assert said["learned"] == [rollout.response_token_ids.tolist() for rollout in stored]
    assert said["logprobs"] == [rollout.behaviour_logprobs.tolist() for rollout in stored]


def test_prime_rl_packs_samples(tmp_path: Path) -> None:
    folder = countdown_run(tmp_path / "run", TEXT)
    config = ExportConfig(format="prime-rl", groups_per_step=2, data_source="countdown")
    export_rollouts(folder, tmp_path / "samples", config)
    said = load_from_source("prime-rl", str(tmp_path / "samples"))
    stored = [(group, rollout) for group in StoredSamples(folder).groups() for rollout in group.rollouts]
    lengths = [len(group.prompt_token_ids) + len(rollout.response_token_ids) for group, rollout in stored]
    assert said["samples"] == 4 and sorted(said["sequence_lengths"]) == sorted(lengths)
    assert said["learned"] == sum(len(rollout.response_token_ids) for _, rollout in stored)
    # A right and a wrong answer of one length in each group.
    assert said["advantages"] == pytest.approx(0.0, abs=1e-6) and said["env_names"] == ["countdown"]
