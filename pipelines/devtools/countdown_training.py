"""Trains the embedded model: a Qwen3 of 1.3 M parameters that plays Countdown, from scratch, on the CPU.

Seeded and resumable: a checkpoint holds weights, optimiser and step; batches are a function of (seed, step) and nothing else is random,
so a run that was stopped and went on equals one that was not. Every checkpoint is exported too, ready to be loaded by vLLM.

Legend: B examples, T tokens, V vocabulary.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

from pipelines.errors import InputError, RunError
from pipelines.live.progress_line import clock
from pipelines.problems.countdown import training_examples

CHARACTERS = "0123456789 +-*/=:,"
PAD, EOS = "<pad>", "<eos>"
MAX_LENGTH = 128
"""Tokens of a prompt with its answer. Random examples have at most 48."""
LOG_EVERY = 20
"""Steps between plain lines, where standard output is no terminal."""

MODEL_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# Countdown model

A Qwen3 of {parameters:.1f} M parameters that plays Countdown: reach a target from four numbers. It solves some problems at the first try
and many more with many samples, which makes it a small subject for pass@k experiments on a CPU. It can do nothing else.

    prompt   "3 7 19 25=84:"
    answer   "25-19=6,3*6=18,18+7=25", up to the end token

One token per character. Each step takes two unused numbers (given, or results before it) and gives one back; the last result must be
the target. `pipelines/problems/countdown.py` states the task and checks answers exactly.

## Training

From scratch on random problems with random solutions: {steps:,} steps of {batch_size} examples, {minutes:.0f} minutes on {threads} CPU
threads, loss on the answer only. One problem in ten, chosen by a hash of its numbers and target, is never trained on; evaluation uses
only those. The weights are stored as bfloat16.

    {command}

## Measured

{measured}

Licence: Apache-2.0.
"""
NOT_MEASURED = """\
Not yet. To measure:

    python -m jobs.passk --model {output} --sampler vanilla --samples 64"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CountdownTrainingConfig:
    """One training run of the embedded model."""

    output: Path = Path("pipelines/countdown_model")
    """Folder for the exported model."""
    checkpoint: Path = Path("runs/countdown-training.pt")
    """Resumable state; delete it to start over."""
    steps: int = 2000
    """Optimiser steps, >= 1."""
    batch_size: int = 128
    """Examples per step, >= 1."""
    learning_rate: float = 3e-3
    """Peak of the cosine schedule, > 0."""
    warmup_steps: int = 100
    """Steps of linear warm-up, >= 1."""
    save_every: int = 200
    """Steps between checkpoints, >= 1."""
    seed: int = 0
    """Seed of the weights and of the examples."""
    threads: int = 2
    """CPU threads, >= 1."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup_steps", "save_every", "threads"):
            value = asdict(self)[name]
            if value < 1:
                raise InputError(f"{name} must be >= 1; got {value}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate must be finite and > 0; got {self.learning_rate}.")

    @property
    def recipe(self) -> dict[str, float]:
        """What decides the weights: two runs that agree in it and in the number of threads end equal."""
        names = ("steps", "batch_size", "learning_rate", "warmup_steps", "seed")
        return {name: asdict(self)[name] for name in names}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character; decoding puts nothing in between."""
    vocabulary = {token: i for i, token in enumerate([PAD, EOS, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """Random weights. Heads of 32: vLLM's CPU attention takes no smaller ones."""
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=MAX_LENGTH,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_batch(tokenizer: PreTrainedTokenizerFast, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Token ids [B, T] and labels [B, T]; only the answer and its end are learned (-100 elsewhere)."""
    examples = training_examples(seed, size)
    prompts = [tokenizer(problem.prompt)["input_ids"] for problem, _ in examples]
    answers = [[*tokenizer(solution)["input_ids"], tokenizer.eos_token_id] for _, solution in examples]
    length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    token_ids_BT = torch.full((size, length), tokenizer.pad_token_id)
    labels_BT = torch.full((size, length), -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        token_ids_BT[row, :end] = torch.tensor(prompt + answer)
        labels_BT[row, len(prompt) : end] = torch.tensor(answer)
    return token_ids_BT, labels_BT


def learning_rate_at(step: int, config: CountdownTrainingConfig) -> float:
    """Linear warm-up, then cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * warm * (0.05 + 0.95 * (1 + math.cos(math.pi * step / config.steps)) / 2)


class CountdownTrainer:
    """Model, optimiser and position of one run. Goes on from the config's checkpoint, if there is one.

    Raises InputError if that checkpoint is of another run.
    """

    def __init__(self, config: CountdownTrainingConfig) -> None:
        self.config = config
        self.tokenizer = build_tokenizer()
        self.model = build_model(self.tokenizer, config.seed)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.05
        )
        self.step = 0
        self.seconds = 0.0
        if config.checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.config.checkpoint, weights_only=True)
        for name, value in self.config.recipe.items():
            if state["recipe"][name] != value:
                raise InputError(
                    f"checkpoint {self.config.checkpoint} belongs to a run with {name}={state['recipe'][name]}; this one has {value}. "
                    "Name another --checkpoint, or delete it to start over."
                )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]

    def train_step(self) -> float:
        """One optimiser step; its loss in nats per answer token. Raises RunError if that is not finite."""
        started = time.monotonic()
        token_ids_BT, labels_BT = make_batch(
            self.tokenizer, self.config.seed * 1_000_000 + self.step, self.config.batch_size
        )
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        logits_BTV = self.model(input_ids=token_ids_BT).logits
        loss = torch.nn.functional.cross_entropy(
            logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=-100
        )
        if not loss.isfinite():
            raise RunError(
                f"the loss must be finite; it is {loss.item()} at step {self.step}. Delete {self.config.checkpoint} and start over with "
                f"a --learning-rate below {self.config.learning_rate:g}."
            )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self.seconds += time.monotonic() - started
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all, and export the model."""
        self.config.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = self.config.checkpoint.with_suffix(".part")
        state = {
            "recipe": self.config.recipe,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, part)
        os.replace(part, self.config.checkpoint)
        self.export()

    def export(self) -> None:
        """Write weights in bfloat16, configs and tokenizer to the output folder, each file whole; with its card once training is over."""
        exported = build_model(self.tokenizer, self.config.seed).to(torch.bfloat16)
        exported.load_state_dict(self.model.state_dict())
        disable_progress_bar()
        self.config.output.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.config.output.parent, prefix=".export-") as folder:
            exported.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            if self.step == self.config.steps:
                Path(folder, "README.md").write_text(self.card(), encoding="utf-8")
            for path in Path(folder).iterdir():
                # Safetensors files come as 0600; an installed model is for every user of the machine.
                path.chmod(0o644)
                os.replace(path, self.config.output / path.name)

    def card(self) -> str:
        """The model card, but for measurements."""
        defaults = asdict(CountdownTrainingConfig())
        flags = [
            f"--{name.replace('_', '-')} {value}"
            for name, value in asdict(self.config).items()
            if value != defaults[name]
        ]
        return MODEL_CARD.format(
            parameters=sum(parameter.numel() for parameter in self.model.parameters()) / 1e6,
            steps=self.config.steps,
            batch_size=self.config.batch_size,
            minutes=self.seconds / 60,
            threads=self.config.threads,
            command=" ".join(["python -m jobs.devtools.train_countdown", *flags]),
            measured=NOT_MEASURED.format(output=self.config.output),
        )


def train(config: CountdownTrainingConfig, console: Console) -> CountdownTrainer:
    """Train to the last step, showing progress. Ctrl-C finishes the step, saves, and raises KeyboardInterrupt. A run that is over is
    left as it is, with what was added to its card.

    Raises InputError if the checkpoint is of another run, RunError if the loss is no longer finite.
    """
    torch.set_num_threads(config.threads)
    trainer = CountdownTrainer(config)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    session_start, started = trainer.step, time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress, deferred_interrupt() as stop:
        task = progress.add_task("training", total=config.steps, completed=trainer.step)
        while trainer.step < config.steps and not stop.is_set():
            loss = trainer.train_step()
            line = progress_line(
                trainer, loss=loss, seconds_per_step=(time.monotonic() - started) / (trainer.step - session_start)
            )
            progress.update(task, completed=trainer.step, description=line)
            if not console.is_terminal and trainer.step % LOG_EVERY == 0:
                console.print(f"step {trainer.step}/{config.steps} | {line}", highlight=False, soft_wrap=True)
            if trainer.step % config.save_every == 0:
                trainer.save()
    if trainer.step > session_start:
        trainer.save()
    if trainer.step < config.steps:
        raise KeyboardInterrupt(
            f"stopped after step {trainer.step} of {config.steps}, saved in {config.checkpoint}; the same command goes on from there."
        )
    return trainer


def progress_line(trainer: CountdownTrainer, *, loss: float, seconds_per_step: float) -> str:
    """Where a run is; `loss` in nats per answer token."""
    eta = clock((trainer.config.steps - trainer.step) * seconds_per_step)
    return f"loss {loss:.3f} | {trainer.config.batch_size / seconds_per_step:.0f} examples/s | ETA {eta}"


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """In here Ctrl-C sets the event and does no more: a step cut in half would leave weights that no whole run has."""
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
