"""What came out of a run: pass@k with intervals, what the Distiller did, how fast it went, what went wrong.

Legend: P problems, T tokens of one sample.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import fmean

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from esamp.policy_config import PolicyConfig
from pipelines.config.run import RunConfig
from pipelines.errors import RunError
from pipelines.live.progress_file import MANY_TRUNCATED
from pipelines.runs.counters import RunCounters, actor_warnings, counters_of, run_counters
from pipelines.runs.early_stopping import stops_of
from pipelines.runs.early_stopping_summary import StoppingSummary, adaptive_pass_at, stopping_summary
from pipelines.runs.finished_sample import FINISHED_COLUMNS, finished_sample
from pipelines.runs.folder import SUMMARY, RunFolder, Session
from pipelines.statistics.group_estimator import over_windows
from pipelines.statistics.pass_at_k import PassAtK, ks_up_to, pass_at_k_curve, pass_at_k_points
from pipelines.statistics.stopping_rule import StoppingRule
from pipelines.verifiers.verdict import VerdictStatus

CONFIDENCE = 0.95
COLUMNS = [
    "problem_id",
    "sample_index",
    "status",
    "num_tokens",
    "finish_reason",
    "intervened_tokens",
    "lag_mean",
    "error",
]
"""One value a sample, so that a million samples take some 100 MB; losses, one a token, are read a file at a time."""
CATEGORIES = ("status", "finish_reason")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary(RunCounters):
    """One run in numbers."""

    run_folder: str
    sampler: str
    beta: float
    problems: int
    """Problems all of whose samples are there, or that stopped early; the others do not count."""
    samples_per_problem: int
    """At most, where problems may stop early."""
    group_sizes: list[int]
    """Groups of siblings that a problem's samples were drawn in, in launch order: several after an extension, or in smaller units."""
    extension_rounds: list[int]
    """Samples per problem that each extension round added, the first round included: one number where the run was never extended."""
    verdicts: str
    """Who gave the verdicts: the verifier of the run, or a folder of verdicts/ that jobs.verify filled."""
    without_verdict: int
    """Answers drawn since the last jobs.verify, which have no verdict of its verifier; 0 if there was none."""
    pass_at: list[PassAtK]
    """Empty where the run has no verifier: pass@k is then undefined."""
    solved: int | None
    """Problems with at least one correct sample; None without a verifier."""
    distiller_loss_start: float | None
    """Mean squared error per hidden channel over the first tenth of each sample's tokens; None without a Distiller."""
    distiller_loss_end: float | None
    """The same over the last tenth."""
    intervened_share: float
    """Share of the tokens that the sampling policy took part in drawing; with ESamp of all but the first of each sample, which it leaves
    to the model."""
    mean_lag: float | None
    """Decode steps the Distiller's weights were behind, mean over samples; None without a Distiller."""
    tokens: int
    tokens_per_s: float | None
    """Answer tokens per second in which engines had work, over completed sessions; None if there is none."""
    errors: int
    """Samples that could not be generated or not be scored. They count as not correct."""
    truncated: int
    """Samples cut off at max_tokens."""
    no_answer: int
    """Samples in which the verifier found no answer."""
    timeouts: int
    """Samples whose verifier was killed for time. Like the four below they count as not correct."""
    parse_errors: int
    """Samples with an answer that the verifier could not read."""
    out_of_memory: int
    """Samples whose verifier hit its memory limit."""
    sandbox_errors: int
    """Samples whose verifier's process died."""
    stopping: StoppingSummary | None = None
    """Of a run whose problems may stop early; None for one that draws all its samples."""
    actor_warnings: list[str] = field(default_factory=list)
    """What shards, trainers and the router warned of, a line for each and kind, over completed sessions."""

    @property
    def label(self) -> str:
        """The run in a few words."""
        name = f"{self.sampler} (beta {self.beta:g})" if self.beta else self.sampler
        return f"{name}, stop at {self.stopping.successes}" if self.stopping else name

    @property
    def samples(self) -> int:
        """Samples that count."""
        return self.stopping.counted_samples if self.stopping else self.problems * self.samples_per_problem

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        warnings = []
        if self.solved == 0 and self.problems > 0:
            warnings.append(
                f"{self.label}: not one of {self.samples} samples is correct. Unless the task is beyond the "
                "model, the prompt, the verifier or the answers' column is not the right one: look at text, extracted and detail in "
                f"{self.run_folder}/samples."
            )
        if self.beta and len(self.extension_rounds) > 1:
            rounds = ", ".join(map(str, self.extension_rounds))
            warnings.append(
                f"{self.label}: a problem's samples were generated in extension rounds of {rounds}, which did not learn from each other: "
                f"pass@k is that of k out of all {self.samples_per_problem}, not of one group of as many (docs/statistics.md)."
            )
        elif self.beta and len(self.group_sizes) > 1:
            warnings.append(
                f"{self.label}: a problem's samples are {in_words(self.group_sizes)}. Groups that one session generated on one shard, or "
                "with a trainer actor, shared the problem's Distiller; those of another session began with a new one. pass@k is that of k "
                f"out of all {self.samples_per_problem}, not of one group of as many (docs/statistics.md)."
            )
        if self.without_verdict:
            warnings.append(
                f"{self.label}: {self.without_verdict} answers were generated after the last jobs.verify ({self.verdicts}) and have no "
                f"verdict, so pass@k is undefined: python -m jobs.verify {self.run_folder} with the same settings goes on."
            )
        if self.samples and self.truncated > MANY_TRUNCATED * self.samples:
            warnings.append(
                f"{self.label}: {self.truncated / self.samples:.0%} of samples were cut off at max_tokens and count by what they had said "
                "until then. Raise --sampling.max-tokens (and --engine.max-model-len, where it is lower) in another run."
            )
        for name, counter in counters_of():
            if counter.warning and (count := asdict(self)[name]):
                warnings.append(f"{self.label}: {name.replace('_', ' ')}: {count}. {counter.help}")
        return [*warnings, *(f"{self.label}: {warning}" for warning in self.actor_warnings)]


def in_words(group_sizes: list[int]) -> str:
    """[4, 4, 4] -> "3 groups of 4"; [4, 3] -> "groups of 4, 3"."""
    if len(set(group_sizes)) == 1:
        return f"{len(group_sizes)} groups of {group_sizes[0]}"
    return f"groups of {', '.join(map(str, group_sizes))}"


def summarise(folder: RunFolder, *, pass_at: tuple[int, ...] = ()) -> RunSummary:
    """Read a run folder, write summary.json, return its content.

    Raises RunError if there is nothing to report: no sample could be generated, or beta > 0 and nothing was intervened on.
    """
    manifest = folder.manifest()
    config = manifest.config
    samples = pa.concat_tables(map(with_categories, folder.sample_tables(COLUMNS))).unify_dictionaries()
    sessions = folder.sessions()
    check_samples(samples, config.beta)
    statuses = value_counts(samples["status"])
    is_verified = statuses[VerdictStatus.UNVERIFIED] == 0
    outcome = run_outcome(config, samples, sessions, pass_at or ks_up_to(config.largest_k))
    loss_start, loss_end = loss_edges(folder.sample_tables(["loss"]))
    summary = RunSummary(
        run_folder=str(folder.path),
        sampler=config.sampler,
        beta=config.beta,
        problems=outcome.problems,
        samples_per_problem=config.samples,
        group_sizes=manifest.group_sizes,
        extension_rounds=[end - start for start, end in pairwise((0, *manifest.rounds))],
        verdicts=manifest.verification or config.verifier_name,
        without_verdict=statuses[VerdictStatus.UNVERIFIED] if manifest.verification else 0,
        pass_at=outcome.pass_at if is_verified else [],
        solved=outcome.solved if is_verified else None,
        distiller_loss_start=loss_start,
        distiller_loss_end=loss_end,
        intervened_share=intervened_share(samples, config.policy),
        mean_lag=pc.mean(samples["lag_mean"]).as_py(),
        tokens=pc.sum(samples["num_tokens"]).as_py(),
        tokens_per_s=tokens_per_s(sessions),
        errors=statuses[VerdictStatus.ERROR],
        truncated=value_counts(samples["finish_reason"])["length"],
        no_answer=statuses[VerdictStatus.NO_ANSWER],
        timeouts=statuses[VerdictStatus.TIMEOUT],
        parse_errors=statuses[VerdictStatus.PARSE_ERROR],
        out_of_memory=statuses[VerdictStatus.OUT_OF_MEMORY],
        sandbox_errors=statuses[VerdictStatus.SANDBOX_ERROR],
        stopping=outcome.stopping,
        actor_warnings=actor_warnings(sessions),
        **run_counters(sessions),
    )
    folder.storage.write(SUMMARY, json.dumps(asdict(summary), indent=2).encode())
    return summary


def with_categories(samples: pa.Table) -> pa.Table:
    """The same rows, with a number in place of each text of a column that has few different ones."""
    for name in CATEGORIES:
        place = samples.schema.get_field_index(name)
        samples = samples.set_column(place, name, samples[name].dictionary_encode())
    return samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the verdicts of a run came to."""

    problems: int
    pass_at: list[PassAtK]
    solved: int
    stopping: StoppingSummary | None


def run_outcome(config: RunConfig, samples: pa.Table, sessions: list[Session], ks: Sequence[int]) -> Outcome:
    """pass@k by the estimator that fits how the run drew its samples."""
    rule = config.stopping_rule
    if rule is not None:
        return adaptive_outcome(rule, samples, sessions, ks)
    if config.siblings_form_sequence:
        return sequence_outcome(config.samples, samples, ks)
    return fixed_outcome(config.samples, samples, ks)


def sequence_outcome(num_samples: int, samples: pa.Table, ks: Sequence[int]) -> Outcome:
    """Of a run whose siblings form a low-discrepancy sequence: their order counts."""
    in_order = samples.select(["problem_id", "sample_index", "status"]).sort_by(
        [("problem_id", "ascending"), ("sample_index", "ascending")]
    )
    is_correct = pc.equal(in_order["status"], VerdictStatus.CORRECT.value).to_numpy()
    counts = in_order.group_by("problem_id", use_threads=False).aggregate([("status", "count")])["status_count"]
    ends = np.cumsum(counts.to_numpy())
    groups = [group for group in np.split(is_correct, ends[:-1]) if len(group) == num_samples]
    return Outcome(
        problems=len(groups),
        pass_at=pass_at_k_points([over_windows(groups, k) for k in ks], ks, group_size=None, confidence=CONFIDENCE),
        solved=sum(bool(group.any()) for group in groups),
        stopping=None,
    )


def fixed_outcome(num_samples: int, samples: pa.Table, ks: Sequence[int]) -> Outcome:
    """Of a run that draws all its samples."""
    is_correct = pc.equal(samples["status"], VerdictStatus.CORRECT.value).cast(pa.int64())
    by_problem = (
        pa.table({"problem_id": samples["problem_id"], "correct": is_correct})
        # One thread: problems stay in the order of the samples.
        .group_by("problem_id", use_threads=False)
        .aggregate([("correct", "count"), ("correct", "sum")])
    )
    complete = by_problem.filter(pc.equal(by_problem["correct_count"], num_samples))
    num_correct_P = complete["correct_sum"].to_numpy()
    num_samples_P = np.full(complete.num_rows, num_samples)
    return Outcome(
        problems=complete.num_rows,
        pass_at=pass_at_k_curve(num_samples_P, num_correct_P, ks, confidence=CONFIDENCE),
        solved=int((num_correct_P > 0).sum()),
        stopping=None,
    )


def adaptive_outcome(rule: StoppingRule, samples: pa.Table, sessions: list[Session], ks: Sequence[int]) -> Outcome:
    """Of a run whose problems may stop early."""
    finished = [finished_sample(row) for row in samples.select(FINISHED_COLUMNS).to_pylist()]
    stops = dict(
        sorted(stops_of(finished, rule).items())
    )  # files come in any order, seeded resampling must not depend on it
    return Outcome(
        problems=len(stops),
        pass_at=adaptive_pass_at(list(stops.values()), ks, rule),
        solved=sum(stop.correct > 0 for stop in stops.values()),
        stopping=stopping_summary(rule, stops, finished, sessions) if stops else None,
    )


def value_counts(column: pa.ChunkedArray) -> Counter[str]:
    """How often each value of a column is there."""
    return Counter({pair["values"]: pair["counts"] for pair in pc.value_counts(column).to_pylist()})


def check_samples(samples: pa.Table, beta: float) -> None:
    """Raise RunError if every sample failed, or if ESamp was asked for and took no part in any token."""
    errors = samples["error"]
    if errors.null_count == 0:
        raise RunError(f"none of {len(errors)} samples could be generated; the first failed with: {errors[0]}")
    if beta > 0 and not pc.sum(samples["intervened_tokens"]).as_py():
        raise RunError(
            f"esamp with beta={beta:g} must explore, but none of the tokens of {len(errors)} samples was intervened on: "
            "these are vanilla samples."
        )


def intervened_share(samples: pa.Table, policy: PolicyConfig | None) -> float:
    """Share intervened on of the tokens that `policy` could have; 0 if there are none."""
    left_alone = 0 if policy is not None and policy.acts_on_first_token else 1
    num_tokens = pc.sum(pc.max_element_wise(pc.subtract(samples["num_tokens"], left_alone), 0)).as_py()
    intervened = pc.sum(samples["intervened_tokens"]).as_py() or 0
    return intervened / num_tokens if num_tokens else 0.0


def loss_edges(tables: Iterable[pa.Table]) -> tuple[float | None, float | None]:
    """Mean Distiller loss over the first and the last tenth (at least one token) of each sample's tokens that have a loss, then over
    samples; None if no sample has one."""
    edges, count = np.zeros(2), 0
    for table in tables:
        for losses in table["loss"]:
            loss_T = losses.values.to_numpy().astype(np.float64) if losses.is_valid else np.empty(0)
            loss_T = loss_T[~np.isnan(loss_T)]
            if len(loss_T):
                tenth = max(1, len(loss_T) // 10)
                edges += loss_T[:tenth].mean(), loss_T[-tenth:].mean()
                count += 1
    return (float(edges[0]) / count, float(edges[1]) / count) if count else (None, None)


def tokens_per_s(sessions: list[Session]) -> float | None:
    """Tokens per second of the time in which the busiest shard of each session had work; of the whole session where a shard was
    restarted, since its counters began again."""
    seconds = sum(busy_seconds(session) for session in sessions)
    return sum(session.tokens for session in sessions) / seconds if seconds else None


def busy_seconds(session: Session) -> float:
    """What `tokens_per_s` divides by."""
    if session.counters_were_reset or not session.shards:
        return session.seconds
    return max(shard["generation_seconds"] for shard in session.shards)


def mean_or_none(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    numbers = [float(value) for value in values]
    return fmean(numbers) if numbers else None


def summary_table(summaries: list[RunSummary], headings: Sequence[str] | None = None) -> RenderableType:
    """Runs side by side, one column each; warnings underneath. Without `headings` each run is named by its label."""
    table = Table(title=table_title(summaries), title_justify="left")
    table.add_column("")
    for heading in headings or [summary.label for summary in summaries]:
        table.add_column(heading, justify="right")
    for name, cells in table_rows(summaries):
        table.add_row(name, *cells)
    return Group(table, *(Text(f"warning: {warning}") for summary in summaries for warning in summary.warnings))


def table_title(summaries: list[RunSummary]) -> str:
    """How much was drawn."""
    sizes = dict.fromkeys(
        f"{s.problems} problems x {'at most ' if s.stopping else ''}{s.samples_per_problem} samples" for s in summaries
    )
    return "; ".join(sizes) + ", 95% intervals over problems"


def table_rows(summaries: list[RunSummary]) -> Iterable[tuple[str, list[str]]]:
    """Name and cells of each row."""
    for k in sorted({point.k for summary in summaries for point in summary.pass_at}):
        yield f"pass@{k}", [pass_at_cell(summary, k) for summary in summaries]
    if any(summary.solved is None for summary in summaries):
        yield "pass@k", ["undefined: no verifier" if s.solved is None else "above" for s in summaries]
    yield "problems solved", ["-" if s.solved is None else f"{s.solved}/{s.problems}" for s in summaries]
    if any(s.stopping for s in summaries):
        yield from stopping_rows(summaries)
    yield "distiller loss, start -> end", [loss_cell(s) for s in summaries]
    yield "tokens intervened on", [f"{s.intervened_share:.1%}" for s in summaries]
    yield "distiller lag, steps", ["-" if s.mean_lag is None else f"{s.mean_lag:.1f}" for s in summaries]
    yield "tokens/s", ["-" if s.tokens_per_s is None else f"{s.tokens_per_s:,.0f}" for s in summaries]
    for name in ("errors", "timeouts", "truncated", "no_answer"):
        yield name.replace("_", " "), [str(asdict(s)[name]) for s in summaries]
    for name in ("parse_errors", "out_of_memory", "sandbox_errors"):
        if any(asdict(s)[name] for s in summaries):
            yield name.replace("_", " "), [str(asdict(s)[name]) for s in summaries]
    yield from counter_rows(summaries)


def counter_rows(summaries: list[RunSummary]) -> Iterable[tuple[str, list[str]]]:
    """The counters of actors; those that are 0 everywhere only where that is worth a line."""
    for name, counter in counters_of():
        counts = [asdict(s)[name] for s in summaries]
        if any(counts) or counter.is_shown_at_zero:
            has_it = [counter.of == "every run" or s.beta > 0 for s in summaries]
            yield (
                name.replace("_", " "),
                [str(count) if has else "-" for count, has in zip(counts, has_it, strict=True)],
            )


def stopping_rows(summaries: list[RunSummary]) -> Iterable[tuple[str, list[str]]]:
    """What stopping early came to."""
    stopping = [summary.stopping for summary in summaries]
    yield (
        "stopped: solved, given up, at the end",
        [f"{s.solved}, {s.given_up}, {s.exhausted}" if s else "-" for s in stopping],
    )
    yield (
        "samples that count, discarded, cancelled",
        [f"{s.counted_samples}, {s.discarded_samples}, {s.cancelled_samples}" if s else "-" for s in stopping],
    )
    yield "tokens saved, about", [f"{s.saved_share:.0%}" if s else "-" for s in stopping]


def pass_at_cell(summary: RunSummary, k: int) -> str:
    """ "41.2% [35.0, 47.3]"; "-" if the run has no such k."""
    for point in summary.pass_at:
        if point.k == k:
            return f"{point.estimate:.1%} [{100 * point.low:.1f}, {100 * point.high:.1f}]"
    return "-"


def loss_cell(summary: RunSummary) -> str:
    """ "1.93 -> 0.41"; "-" without a Distiller."""
    if summary.distiller_loss_start is None or summary.distiller_loss_end is None:
        return "-"
    return f"{summary.distiller_loss_start:.3g} -> {summary.distiller_loss_end:.3g}"


def read_summary(folder: RunFolder) -> RunSummary:
    """The summary that `summarise` wrote."""
    plain = json.loads(folder.storage.read(SUMMARY))
    stopping = StoppingSummary.from_dict(plain["stopping"]) if plain.get("stopping") else None
    read = {"pass_at": [PassAtK(**point) for point in plain["pass_at"]], "stopping": stopping}
    # Older versions did not write extension_rounds.
    return RunSummary(**{"extension_rounds": [plain["samples_per_problem"]], **plain, **read})
