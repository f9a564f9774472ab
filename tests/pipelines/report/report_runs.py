"""Finished runs made by hand for the report's tests: a vanilla and an ESamp run on the same problems, with real token ids."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipelines.config.run import EMBEDDED_MODEL, RunConfig
from pipelines.runs.folder import RunFolder, Session
from tests.pipelines.stored_rows import make_run, row, wrong

PROBLEMS, SAMPLES = 24, 4
HOSTILE = "</div></script><script>window.attacked = true</script><img src=x onerror='window.attacked = true'>\r\n&amp;"
"""What a model might write."""
SHARD: dict[str, Any] = {
    **dict.fromkeys(
        ("vanilla_groups", "nonfinite_rows", "stale_rows", "trainer_failures", "dropped_rows", "lost_rows"), 0
    ),
    "generation_seconds": 4.0,
}


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(EMBEDDED_MODEL, local_files_only=True)


def config(sampler: str, seed: int = 0, **settings: Any) -> RunConfig:
    return RunConfig(sampler=sampler, samples=SAMPLES, seed=seed, **settings)  # type: ignore[arg-type]


def sample(problem: int, index: int, *, is_correct: bool, steers: bool, seed: int = 0) -> dict[str, Any]:
    """A Countdown answer whose token ids are the tokenizer's own."""
    text = f"{problem + 1}+{index + 2}={problem + index + 3},{seed + 7}*2={2 * (seed + 7)}"
    ids = tokenizer()(text)["input_ids"]
    ids = [*ids, 1] if ids[-1] != 1 else ids
    rng = np.random.default_rng([problem, index, seed])
    novelty = [float("nan"), *rng.uniform(0.5, 1.5, len(ids) - 1)] if steers else [float("nan")] * len(ids)
    make = row if is_correct else wrong
    return make(
        problem,
        index,
        text=text,
        token_ids=ids,
        num_tokens=len(ids),
        policy_logprobs=(-rng.uniform(0.1, 2, len(ids))).tolist(),
        behaviour_logprobs=(-rng.uniform(0.1, 2, len(ids))).tolist(),
        novelty=novelty,
        loss=novelty,
        intervened_tokens=len(ids) - 1 if steers else 0,
        lag_mean=float(rng.uniform(1, 4)) if steers else None,
        extracted=str(problem + index % 2),
    )


def write_run(
    path: Path, settings: RunConfig, *, solved_share: float, hostile: bool = False, **changes: Any
) -> RunFolder:
    """A finished run in which about this share of samples is correct; the same seed, the same run."""
    rng = np.random.default_rng(settings.seed)
    steers = settings.sampler == "esamp"
    rows = [
        sample(p, i, is_correct=bool(rng.random() < solved_share), steers=steers, seed=settings.seed)
        for p in range(PROBLEMS)
        for i in range(settings.samples)
    ]
    rows = [{**stored, **changes} for stored in rows]
    if hostile:
        rows[0] |= {"text": HOSTILE, "extracted": HOSTILE, "detail": HOSTILE, "status": "wrong"}
    folder = make_run(path, settings, [rows[: len(rows) // 2], rows[len(rows) // 2 :]], num_problems=PROBLEMS)
    folder.add_session(
        Session(
            started="2026-01-01T00:00:00+00:00", seconds=5.0, units=PROBLEMS, samples=len(rows),
            tokens=sum(stored["num_tokens"] for stored in rows), shards=[SHARD], trainer=None,
        )
    )  # fmt: skip
    return folder
