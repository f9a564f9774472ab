"""What a run takes unless it is told otherwise: the values of its folder, its model, its task and this machine, in that order."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from actors.config import EngineConfig, SamplingConfig
from jobs import compare, passk, rollouts
from pipelines.config.run import EMBEDDED_MODEL, RunConfig
from pipelines.prepare.defaults import default_num_cpus, model_defaults
from tests.pipelines.stored_rows import make_run, row


def model_with(folder: Path, *, card: dict[str, object] | None = None, template: str | None = None) -> str:
    """The embedded model's files but its weights, with another generation_config.json and chat template."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((EMBEDDED_MODEL / name).read_text())
    if card is not None:
        (folder / "generation_config.json").write_text(json.dumps(card))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return str(folder)


CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
THINKING = CHAT + "{% if enable_thinking is false %}<think></think>{% endif %}"


def test_a_chat_model_and_a_thinking_model_get_the_tasks_lengths(tmp_path: Path) -> None:
    chat = passk.parse(["--task", "aime2025", "--model", model_with(tmp_path / "chat", template=CHAT)]).run
    thinking = passk.parse(["--task", "aime2025", "--model", model_with(tmp_path / "thinking", template=THINKING)]).run
    assert (chat.sampling.max_tokens, thinking.sampling.max_tokens) == (8192, 32768)
    given = passk.parse(
        ["--task", "aime2025", "--model", str(tmp_path / "thinking"), "--sampling.max-tokens", "512"]
    ).run
    assert given.sampling.max_tokens == 512, "what is given wins, also where it is the general default"
    assert (
        passk.parse(["--model", str(tmp_path / "thinking"), "--no-chat", "--task", "gsm8k"]).run.sampling.max_tokens
        == 1024
    )


def test_the_models_generation_config_is_taken_and_said(tmp_path: Path) -> None:
    card = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05}
    model = model_with(tmp_path / "model", card=card, template=CHAT)
    command, defaults = passk.parse_with_defaults(["--model", model, "--task", "gsm8k", "--sampling.top-k", "50"])
    assert command.run.sampling == SamplingConfig(temperature=0.6, top_p=0.95, top_k=50, max_tokens=1024)
    assert defaults is not None and defaults.line(command.run) == (
        "sampling: temperature 0.6, top_p 0.95 (the model's generation_config.json); top_k 50 (given); max_tokens 1024 (task gsm8k, "
        "chat or base model). Left out, since no sampler here has it: repetition_penalty 1.05"
    )


def test_a_run_for_a_trainer_has_the_tasks_length_and_no_filters_unless_they_are_given(tmp_path: Path) -> None:
    card = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}
    model = model_with(tmp_path / "model", card=card, template=CHAT)
    output = tmp_path / "run"
    args = ["--output", str(tmp_path / "rollouts.parquet"), "--run.output", str(output), "--run.model", model]
    command, defaults = rollouts.parse_with_defaults([*args, "--run.task", "gsm8k", "--run.sampling.top-p", "0.9"])
    assert command.run.sampling == SamplingConfig(temperature=1.0, top_p=0.9, max_tokens=1024)
    assert defaults is not None and defaults.line(command.run) == (
        "sampling: temperature 1 (rollouts: trainers' log-probabilities are over the whole vocabulary); top_p 0.9 (given); max_tokens 1024 "
        "(task gsm8k, chat or base model)"
    )
    make_run(
        output,
        RunConfig(sampler="esamp", samples=2, sampling=SamplingConfig(temperature=0.6, max_tokens=64)),
        [[row(0, 0)]],
    )
    command, _ = rollouts.parse_with_defaults(args)
    assert command.run.sampling == SamplingConfig(temperature=0.6, max_tokens=64), "a run goes on with what it has"


def test_a_base_model_stops_where_the_task_says_and_a_chat_model_at_its_own_token(tmp_path: Path) -> None:
    chat, base = model_with(tmp_path / "chat", template=CHAT), model_with(tmp_path / "base")
    for task, stop in (("humaneval", "\ndef "), ("mbpp", "\nassert"), ("gsm8k", "Question:")):
        assert passk.parse(["--task", task, "--model", chat]).run.sampling.stop == ()
        assert stop in passk.parse(["--task", task, "--model", chat, "--no-chat"]).run.sampling.stop
        command, defaults = passk.parse_with_defaults(["--task", task, "--model", base])
        assert stop in command.run.sampling.stop
        assert defaults is not None and f"(task {task}, no chat template)" in defaults.line(command.run)
    flags = ["--task", "humaneval", "--model", base, "--sampling.stop"]
    assert passk.parse(flags).run.sampling.stop == (), "the flag alone takes them away"
    assert passk.parse([*flags, "\n#", "\nif"]).run.sampling.stop == ("\n#", "\nif")


@pytest.mark.parametrize("card", [None, {"do_sample": False, "top_k": 1}, {"eos_token_id": 1}])
def test_a_model_card_without_sampling_leaves_the_tasks_values(tmp_path: Path, card: dict[str, object] | None) -> None:
    config = RunConfig(sampler="esamp", model=model_with(tmp_path / "model", card=card))
    assert model_defaults(config).sampling == SamplingConfig()


def test_a_run_goes_on_with_the_sampling_it_has(tmp_path: Path) -> None:
    held = RunConfig(
        sampler="esamp", samples=2, output=tmp_path / "run", sampling=SamplingConfig(temperature=0.7, max_tokens=99)
    )
    make_run(tmp_path / "run", held, [[row(0, 0)]])
    command, defaults = passk.parse_with_defaults(["--samples", "2", "--output", str(tmp_path / "run")])
    assert command.run.sampling == held.sampling
    assert defaults is not None and "max_tokens 99 (run.json)" in defaults.line(command.run)


def test_a_comparison_takes_them_for_all_its_runs(tmp_path: Path) -> None:
    model = model_with(tmp_path / "model", template=THINKING)
    flags = [
        "--run.model",
        model,
        "--run.task",
        "math500",
        "--output",
        str(tmp_path / "compare"),
        "--run.sampling.top-p",
        "0.9",
    ]
    command, defaults = compare.parse_with_defaults(flags)
    runs = compare.comparison_runs(command)
    assert {run.sampling for run in runs} == {SamplingConfig(max_tokens=32768, top_p=0.9)}
    assert "max_tokens 32768 (task math500, thinking model)" in defaults.line(command.run)


def test_a_cpu_shard_gets_the_machines_cores_over_the_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for cores, shards, expected in ((1, 1, 1), (2, 1, 2), (2, 2, 1), (4, 1, 3), (16, 4, 3), (4, 8, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert default_num_cpus(shards) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert default_num_cpus(1) == 2, "the variable by which users limit threads wins"
    defaults = replace(model_defaults(RunConfig(sampler="esamp")), num_cpus=3.0)
    assert defaults.apply(RunConfig(sampler="esamp")).engine.num_cpus == 3
    gpu = RunConfig(sampler="esamp", engine=EngineConfig(num_gpus=1))
    assert defaults.apply(gpu).engine == gpu.engine
