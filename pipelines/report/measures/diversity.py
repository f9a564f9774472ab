"""How different a condition's samples are, and how sensible: measures per problem, then over problems.

Legend: P problems looked at, N samples of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.report.config import DiversityConfig
from pipelines.report.measures.correctness import final_answers
from pipelines.report.measures.countdown_paths import solution_path
from pipelines.report.measures.measure import Measure
from pipelines.report.run_samples import RunSamples
from pipelines.report.run_set import RunSet
from pipelines.statistics.diversity import distinct_n, distinct_share, mean_pairwise_cosine, self_bleu, vendi_score
from pipelines.statistics.interval import mean_interval

UNBOUNDED = (0.0, float("inf"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Samples of one problem."""

    prompt: str
    texts: list[str]
    token_ids: list[list[int]]
    answers: list[str]
    """Final answers, of the samples that have one."""
    paths: list[str]
    """Normalised ways of the correct samples; empty where the task has no such form."""
    logprobs: npt.NDArray[np.float64]
    """Mean log-probability of each sample under the plain model."""


def measure_diversity(run_set: RunSet, config: DiversityConfig) -> list[Measure]:
    """Every measure of every condition, of its first run. Raises InputError if a model cannot be loaded."""
    samples = min(config.samples, *(condition.group_size for condition in run_set.conditions))
    groups_of = [read_groups(condition.runs[0], config.problems, samples) for condition in run_set.conditions]
    is_countdown = run_set.baseline.config.verifier_name == "countdown"
    tokenize = "char" if is_countdown else "13a"

    def row(
        name: str, question: str, measure: Callable[[Group], float], bounds: tuple[float, float] = (0.0, 1.0)
    ) -> Measure:
        """The mean over problems, one value per condition."""
        return Measure(
            name=name,
            question=question,
            unit="share" if bounds == (0.0, 1.0) else "number",
            values=[
                mean_interval(defined([measure(group) for group in groups]), bounds=bounds) for groups in groups_of
            ],
        )

    rows = [
        row("distinct-1", "different tokens over tokens; high is diverse", lambda g: distinct_n(g.token_ids, 1)),
        row("distinct-2", "different token pairs over pairs; high is diverse", lambda g: distinct_n(g.token_ids, 2)),
        row(
            "self-BLEU",
            "likeness of each sample to the others; low is diverse",
            lambda g: self_bleu(g.texts, tokenize=tokenize),
        ),
        row("distinct texts", "different samples over samples", lambda g: distinct_share(g.texts)),
        row("distinct answers", "different final answers over answers given", lambda g: distinct_share(g.answers)),
    ]
    if is_countdown:
        ways = row("ways to solve", "different correct paths found per problem", lambda g: len(set(g.paths)), UNBOUNDED)
        rows.append(ways)
    rows.append(
        row("perplexity, own model", "of samples under the plain model; low is coherent", own_perplexity, UNBOUNDED)
    )
    if config.embedding_model is not None:
        rows += embedding_rows(groups_of, config.embedding_model)
    if config.perplexity_model is not None:
        from pipelines.report.measures.perplexity import PerplexityModel

        model = PerplexityModel(config.perplexity_model)

        def second_perplexity(group: Group) -> float:
            return geometric_mean([model.perplexity(group.prompt, text) for text in group.texts])

        rows.append(row("perplexity, second model", "of samples under another model", second_perplexity, UNBOUNDED))
    return rows


def read_groups(run: RunSamples, problems: int, samples: int) -> list[Group]:
    """The first samples of the first problems, without those that failed."""
    rows = run.rows_PN[:problems, :samples]
    columns = {name: run.column(name, rows) for name in ("prompt", "text", "token_ids", "error")}
    answers = [row[:samples] for row in final_answers(run)[:problems]]
    groups = []
    for p in range(len(answers)):
        finished = [i for i in range(samples) if columns["error"][p, i] is None]
        texts = [columns["text"][p, i] for i in finished]
        paths = [solution_path(columns["text"][p, i]) for i in finished if run.correct_PN[p, i]]
        groups.append(
            Group(
                prompt=columns["prompt"][p, 0],
                texts=texts,
                token_ids=[columns["token_ids"][p, i] for i in finished],
                answers=[answer for answer in answers[p] if answer is not None],
                paths=[path for path in paths if path is not None],
                logprobs=run.logprob_PN[p, finished],
            )
        )
    return groups


def own_perplexity(group: Group) -> float:
    """Geometric mean over samples of each one's perplexity under the plain model at temperature 1."""
    finite = group.logprobs[np.isfinite(group.logprobs)]
    return float(np.exp(-finite.mean())) if len(finite) else float("nan")


def geometric_mean(values: list[float]) -> float:
    """exp of the mean log over what is defined; NaN of nothing."""
    logs = np.log([value for value in values if not np.isnan(value)])
    return float(np.exp(logs.mean())) if len(logs) else float("nan")


def embedding_rows(groups_of: list[list[Group]], path: Path) -> list[Measure]:
    """Cosine and Vendi score by a text encoder. Empty texts have no embedding and are left out."""
    from pipelines.report.measures.embeddings import SentenceEmbedder

    embedder = SentenceEmbedder(path)
    texts = sorted({text for groups in groups_of for group in groups for text in group.texts if text}, key=len)
    embedding = dict(zip(texts, embedder.encode(texts), strict=True))  # sorted by length: batches without much padding
    embedded = [
        [np.array([embedding[text] for text in group.texts if text]) for group in groups] for groups in groups_of
    ]
    cosines = [defined([mean_pairwise_cosine(e) for e in condition if len(e)]) for condition in embedded]
    vendi = [defined([vendi_score(e) for e in condition if len(e)]) for condition in embedded]
    note = f"; {embedder.full_texts} texts reach the encoder's limit" if embedder.full_texts else ""
    return [
        Measure(
            name="pairwise cosine",
            question=f"likeness of embeddings; low is diverse{note}",
            unit="number",
            values=[mean_interval(values_P, bounds=(-1.0, 1.0)) for values_P in cosines],
        ),
        Measure(
            name="Vendi score",
            question=f"effective number of different samples{note}",
            unit="number",
            values=[mean_interval(values_P, bounds=UNBOUNDED) for values_P in vendi],
        ),
    ]


def defined(values: list[float]) -> list[float]:
    """Values that are not NaN: a problem without answers has no share of different ones. These are descriptions, not scores."""
    return [value for value in values if not np.isnan(value)]
