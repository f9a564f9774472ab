"""The model that ships: small, loadable, right now and then; and its training, which can be stopped at any step."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from pipelines.config.run import EMBEDDED_MODEL
from pipelines.devtools.countdown_training import (
    MAX_LENGTH,
    CountdownTrainer,
    CountdownTrainingConfig,
    build_tokenizer,
    learning_rate_at,
    make_batch,
    train,
)
from pipelines.errors import InputError
from pipelines.problems.countdown import (
    CountdownStatus,
    evaluation_problems,
    is_held_out,
    training_examples,
    verify_answer,
)

LARGEST_BYTES = 8 * 10**6


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(EMBEDDED_MODEL)


def test_the_model_is_small() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED_MODEL.iterdir()) <= LARGEST_BYTES


def test_the_model_has_its_card() -> None:
    card = (EMBEDDED_MODEL / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\n")


def test_the_weights_are_bfloat16_and_finite() -> None:
    with safe_open(EMBEDDED_MODEL / "model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 (not a dict)
            tensor = weights.get_tensor(name)
            assert tensor.dtype == torch.bfloat16
            assert tensor.isfinite().all()


def test_text_comes_back_from_its_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    for problem, solution in training_examples(11, 200):
        text = problem.prompt + solution
        token_ids = tokenizer(text).input_ids
        assert len(token_ids) == len(text) < MAX_LENGTH
        assert tokenizer.decode([*token_ids, tokenizer.eos_token_id], skip_special_tokens=True) == text


def test_the_shipped_tokenizer_is_the_one_the_training_builds(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_heads_are_wide_enough_for_vllm_on_cpu() -> None:
    config = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL).config
    assert config.head_dim >= 32


def test_sampled_answers_are_right_now_and_then_and_differ(tokenizer: PreTrainedTokenizerBase) -> None:
    """Bars far below what the card says: they tell a trained model from a broken one."""
    samples = 8
    problems = evaluation_problems(24)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    prompts = tokenizer(
        [problem.prompt for problem in problems], padding=True, padding_side="left", return_tensors="pt"
    )
    prompts.pop("token_type_ids", None)
    torch.manual_seed(0)
    output_ids_BT = model.generate(**prompts, do_sample=True, top_k=0, max_new_tokens=48, num_return_sequences=samples)
    answer_ids_BT = output_ids_BT[:, prompts.input_ids.shape[1] :]
    assert (answer_ids_BT == tokenizer.eos_token_id).any(dim=1).float().mean() > 0.95
    answers = tokenizer.batch_decode(answer_ids_BT, skip_special_tokens=True)
    correct_PS = [
        [
            verify_answer(problem, answer).status == CountdownStatus.CORRECT
            for answer in answers[i * samples :][:samples]
        ]
        for i, problem in enumerate(problems)
    ]
    assert sum(map(sum, correct_PS)) / len(answers) > 0.1
    assert sum(map(any, correct_PS)) / len(problems) > 0.4
    assert len(set(answers)) > len(answers) / 3


def small_run(folder: Path) -> CountdownTrainingConfig:
    return CountdownTrainingConfig(
        output=folder / "model",
        checkpoint=folder / "state" / "run.pt",
        steps=4,
        batch_size=4,
        threads=1,
        warmup_steps=2,
    )


def weights_of(trainer: CountdownTrainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = CountdownTrainer(small_run(tmp_path / "whole"))
    for _ in range(4):
        whole.train_step()

    config = small_run(tmp_path / "stopped")
    stopped = CountdownTrainer(config)
    for _ in range(2):
        stopped.train_step()
    stopped.save()
    resumed = CountdownTrainer(config)
    assert resumed.step == 2
    for _ in range(2):
        resumed.train_step()

    assert torch.equal(weights_of(whole), weights_of(resumed))
    assert not torch.equal(weights_of(stopped), weights_of(resumed))


def test_ctrl_c_finishes_the_step_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_run(tmp_path)
    train_step = CountdownTrainer.train_step

    def interrupted_step(trainer: CountdownTrainer) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return train_step(trainer)

    console = Console(file=(tmp_path / "log").open("w"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="after step 1 of 4"):
        patch.setattr(CountdownTrainer, "train_step", interrupted_step)
        train(config, console)
    assert CountdownTrainer(config).step == 1
    assert not (config.output / "README.md").exists()

    assert train(config, console).step == 4
    assert {path.name for path in config.output.iterdir()} == {path.name for path in EMBEDDED_MODEL.iterdir()}


def test_a_run_that_is_over_is_left_as_it_is(tmp_path: Path) -> None:
    """Saving once more put a blank card over one with measurements."""
    config = small_run(tmp_path)
    console = Console(file=(tmp_path / "log").open("w"))
    train(config, console)
    card = config.output / "README.md"
    card.write_text("measured")
    assert train(config, console).step == 4
    assert card.read_text() == "measured"


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    config = small_run(tmp_path)
    CountdownTrainer(config).save()
    with pytest.raises(InputError, match=r"steps=4; this one has 5"):
        CountdownTrainer(replace(config, steps=5))


@pytest.mark.parametrize("setting", ["steps", "batch_size", "warmup_steps", "save_every", "threads", "learning_rate"])
def test_settings_out_of_range_are_refused(setting: str) -> None:
    with pytest.raises(InputError, match=f"{setting} must be .* got 0"):
        CountdownTrainingConfig(**{setting: 0})  # type: ignore[arg-type]


def test_only_the_answer_and_its_end_are_learned() -> None:
    tokenizer = build_tokenizer()
    token_ids_BT, labels_BT = make_batch(tokenizer, 12, 16)
    examples = training_examples(12, 16)
    assert not any(is_held_out(problem) for problem, _ in examples)
    for token_ids_T, labels_T, (problem, solution) in zip(token_ids_BT, labels_BT, examples, strict=True):
        learned_T = labels_T != -100
        assert tokenizer.decode(labels_T[learned_T]) == solution + tokenizer.eos_token
        assert torch.equal(labels_T[learned_T], token_ids_T[learned_T])
        assert tokenizer.decode(token_ids_T[: learned_T.int().argmax()]) == problem.prompt


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    config = CountdownTrainingConfig(steps=1000, warmup_steps=100, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[:99] == sorted(rates[:99])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)
