"""Problems and samples that the page shows: verdicts by condition, and the text of some samples.

Legend: P problems, N samples of each, A conditions.
"""

from dataclasses import dataclass

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipelines.report.config import ReadingConfig
from pipelines.report.html_text import shown_text
from pipelines.report.run_samples import RunSamples
from pipelines.report.run_set import Condition, RunSet
from pipelines.report.token_marks import encode_marks, novelty_levels, token_pieces


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadableSample:
    """One sample."""

    index: int
    """Place in launch order."""
    status: str
    extracted: str
    extraction_rule: str
    """How that was found in the text."""
    detail: str
    text: str
    marks: str
    """See token_marks.py; empty if the text cannot be split into its tokens, or no token was intervened on."""
    num_tokens: int
    intervened: int
    seed: int
    is_truncated: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionOnProblem:
    """One condition's samples of one problem, of its first run."""

    correct: int
    total: int
    samples: list[ReadableSample]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadableProblem:
    """One problem."""

    problem_id: str
    text: str
    answer: str
    conditions: list[ConditionOnProblem]
    """[A]"""

    @property
    def solved_by(self) -> list[int]:
        """Conditions with a correct sample."""
        return [index for index, condition in enumerate(self.conditions) if condition.correct]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Problems and samples that the page shows, and how many it leaves out."""

    problems: list[ReadableProblem]
    """[P], those the conditions disagree on first."""
    samples_shown: int
    samples_left_out: int
    unmarked: int
    """Shown samples with intervened tokens that could not be marked: no tokenizer, or one that decodes to another text."""
    has_tokenizer: bool
    novelty_range: tuple[float, float] | None
    """Novelty of the faintest and of the strongest mark: 5th and 95th percentile; None without any."""


def collect_readable_samples(run_set: RunSet, config: ReadingConfig) -> Reading:
    """Choose the samples to show, and mark them."""
    tokenizer = local_tokenizer(run_set.baseline)
    novelty_range = novelty_quantiles(run_set)
    runs = [condition.runs[0] for condition in run_set.conditions]
    solved_AP = np.stack([run.correct_PN.any(axis=1) for run in runs])
    disagreed_P = solved_AP.any(axis=0) & ~solved_AP.all(axis=0)
    order = np.argsort(~disagreed_P, kind="stable").tolist()
    characters = config.characters
    problems, shown, unmarked = [], 0, 0
    for rank, p in enumerate(order):
        conditions = []
        for run in runs:
            chosen = choose_samples(run.correct_PN[p].tolist(), config.samples) if rank < config.problems else []
            samples: list[ReadableSample] = []
            for index in chosen:
                sample = read_sample(run, p, index, tokenizer, novelty_range)
                characters -= len(sample.text)
                if characters < 0:
                    break
                samples.append(sample)
                unmarked += bool(sample.intervened and not sample.marks)
            shown += len(samples)
            conditions.append(
                ConditionOnProblem(correct=int(run.correct_PN[p].sum()), total=run.group_size, samples=samples)
            )
        problem = run_set.problems[p]
        problems.append(
            ReadableProblem(
                problem_id=problem.problem_id, text=problem.text, answer=problem.answer, conditions=conditions
            )
        )
    return Reading(
        problems=problems,
        samples_shown=shown,
        samples_left_out=sum(run.rows_PN.size for run in runs) - shown,
        unmarked=unmarked,
        has_tokenizer=tokenizer is not None,
        novelty_range=novelty_range,
    )


def local_tokenizer(condition: Condition) -> PreTrainedTokenizerBase | None:
    """The run's tokenizer if it is on this machine; a report never goes to the network for it."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            condition.config.model_path, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError):
        return None
    return tokenizer


def novelty_quantiles(run_set: RunSet) -> tuple[float, float] | None:
    """5th and 95th percentile of the novelty of all tokens."""
    columns = [
        condition.runs[0].token_column("novelty").flatten().to_numpy(zero_copy_only=False)
        for condition in run_set.conditions
    ]
    novelty = np.concatenate(columns)
    novelty = novelty[~np.isnan(novelty)]
    if not len(novelty):
        return None
    low, high = np.quantile(novelty, [0.05, 0.95])
    return float(low), float(high)


def choose_samples(correct_N: list[bool], count: int) -> list[int]:
    """Places of the samples to show, in launch order."""
    right = [index for index, correct in enumerate(correct_N) if correct]
    other = [index for index, correct in enumerate(correct_N) if not correct]
    num_right = min(len(right), max((count + 1) // 2, count - len(other)))
    return sorted([*right[:num_right], *other[: count - num_right]])


def read_sample(
    run: RunSamples,
    p: int,
    index: int,
    tokenizer: PreTrainedTokenizerBase | None,
    novelty_range: tuple[float, float] | None,
) -> ReadableSample:
    """One sample of a run."""
    row = run.table.slice(int(run.rows_PN[p, index]), 1).to_pylist()[0]
    text, marks = row["text"], ""
    if tokenizer is not None and novelty_range is not None and row["intervened_tokens"]:
        pieces = token_pieces(tokenizer, row["token_ids"])
        if "".join(pieces) == text:
            low, high = novelty_range
            marks = encode_marks(pieces, novelty_levels(row["novelty"], low=low, high=high))
    return ReadableSample(
        index=index,
        status=row["status"],
        extracted=row["extracted"] or "",
        extraction_rule=row.get("extraction_rule") or "",
        detail=row["error"] or row["detail"] or "",
        text=shown_text(text),
        marks=marks,
        num_tokens=row["num_tokens"],
        intervened=row["intervened_tokens"] or 0,
        seed=row["seed"],
        is_truncated=row["finish_reason"] == "length",
    )
