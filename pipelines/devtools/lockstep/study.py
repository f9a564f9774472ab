"""The lockstep study: samples of Countdown problems by esamp.devtools.lockstep, verified, one .npz file per condition and seed.

A file holds the samples, their logits and the Distiller's shifts, so that every table can be made again without sampling.

Legend: P problems, N samples of each, T longest answer, V vocabulary.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from esamp.devtools.lockstep.config import LockstepConfig
from esamp.devtools.lockstep.sampler import NO_TOKEN, LockstepSampler, LockstepSamples
from esamp.engine.allocator import keep_freed_memory
from pipelines.config.run import EMBEDDED_MODEL
from pipelines.problems.countdown import CountdownProblem, CountdownStatus, evaluation_problems, verify_answer
from pipelines.runs.plan import sample_seed

MAX_TOKENS = 40
"""The model's answers end after at most 33."""
TOGETHER = 12
"""Problems sampled together: more of them outgrow the processor's caches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionSamples:
    """A file."""

    samples: LockstepSamples
    correct_PN: npt.NDArray[np.bool_]


def sample_condition(path: Path, config: LockstepConfig, *, problems: int, samples: int, seed: int) -> None:
    """Generate the samples of a condition and write its file, unless the file exists."""
    if path.exists():
        return
    keep_freed_memory()
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_MODEL, trust_remote_code=False)
    chosen = evaluation_problems(problems)
    parts, correct = [], []
    for first in range(0, problems, TOGETHER):
        part = chosen[first : first + TOGETHER]
        prompts = [tokenizer(problem.prompt)["input_ids"] for problem in part]
        drawing = LockstepSampler(model, config, prompts, samples=samples, max_tokens=MAX_TOKENS)
        drawn = drawing.draw([sample_seed(seed, problem.problem_id, 0) for problem in part])
        parts.append(drawn)
        correct += [verdicts(problem, drawn.tokens_PNT[p], tokenizer) for p, problem in enumerate(part)]
    arrays: dict[str, Any] = {
        field.name: torch.cat([getattr(part, field.name) for part in parts]).numpy()
        for field in fields(LockstepSamples)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, correct_PN=np.array(correct), **arrays)


def verdicts(problem: CountdownProblem, tokens_NT: torch.Tensor, tokenizer: AutoTokenizer) -> list[bool]:
    """Which answers of a problem are correct."""
    texts = [
        tokenizer.decode([token for token in row if token != NO_TOKEN], skip_special_tokens=True)
        for row in tokens_NT.tolist()
    ]
    return [verify_answer(problem, text).status is CountdownStatus.CORRECT for text in texts]


def read_condition(path: Path) -> ConditionSamples:
    """What `sample_condition` wrote."""
    with np.load(path) as arrays:
        samples = LockstepSamples(
            **{field.name: torch.from_numpy(arrays[field.name]) for field in fields(LockstepSamples)}
        )
        return ConditionSamples(samples=samples, correct_PN=arrays["correct_PN"])
