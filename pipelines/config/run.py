"""One Pass@k run. The command line is generated from these fields, and the strings under them are its help."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from actors.config import EngineConfig, ExchangeConfig, SamplingConfig, ShardConfig
from esamp.baselines.config import ContrastiveConfig, FireConfig, OverrideConfig
from esamp.config import ESampConfig
from esamp.policy_config import PolicyConfig
from pipelines.config.early_stopping import WAVES, StoppingConfig
from pipelines.config.partition import Part, PartBy, parse_part
from pipelines.config.samplers import SAMPLERS, SECTIONS, SamplerName, SamplerSettings
from pipelines.config.yaml_flags import config_from_dict, flatten
from pipelines.errors import InputError
from pipelines.problems.task import Columns, Task, TaskOptions
from pipelines.statistics.stopping_rule import StoppingRule
from pipelines.tasks import find_task
from pipelines.verifiers.registry import VERIFIER_HELP, find_verifier

EMBEDDED_MODEL = Path(__file__).parents[1] / "countdown_model"
"""The model that `--model embedded` names."""

LOCAL_SUFFIXES = (".jsonl", ".parquet")
"""Endings of local datasets."""

EMBEDDED_TASK = "countdown"
"""The task of a run that names neither a task nor a dataset; --dataset knows it by the same name."""

COLUMN_TASK = "columns"
"""The task of a run that names a dataset only."""

COLUMN_FLAGS = ("problem_column", "answer_column", "id_column")

MAY_CHANGE = frozenset(
    {
        "output",
        "part",
        "part_by",
        "pass_at",
        "shards",
        "trainers",
        "min_shards",
        "unit_attempts",
        "verifiers",
        "judge_url",
        "judge_key_variable",
        "allow_unsafe_execution",
        "units_per_part",
        "engine.num_gpus",
        "engine.num_cpus",
        "engine.kv_cache_gib",
        "engine.gpu_memory_utilization",
        "exchange.share",
        "exchange.trainer_gpus",
    }
)
"""Settings that may differ between a run and its continuation: where it runs and what is reported, not what a sample or a verdict is."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Draw samples of every problem of a dataset, score them, estimate pass@k."""

    model: str = "embedded"
    """Hugging Face model id or local folder; "embedded" is the small Countdown model that ships with the project."""
    task: str | None = None
    """Name of a task (python -m jobs.tasks lists them), or module:TASK of your own: its dataset, prompt and verifier. Without it a
    --dataset is read by its columns, and a run without either is countdown, the task that ships with the project."""
    dataset: str | None = None
    """Where problems come from instead of the task's own source: Hugging Face dataset id, or a .jsonl or .parquet file."""
    split: str | None = None
    """Split of a hub dataset; by default the task's, else test."""
    subset: str | None = None
    """Configuration name of a hub dataset; by default the task's."""
    limit: int | None = None
    """Use only the first so many problems."""
    problem_column: str | None = None
    """Column with the problem's text; by default the task's, else the first of problem, question, prompt."""
    answer_column: str | None = None
    """Column with the reference answer; by default the task's, else the first of answer, expected_answer, solution."""
    id_column: str | None = None
    """Column with a unique id; by default the task's, else the first of problem_id, unique_id, task_id, id, and the row number if there
    is none."""
    choices_seed: int = 0
    """Seed of the order of choices, in multiple-choice tasks."""
    released_from: str | None = None
    """First day (2025-01-31) of the problems to use, in tasks whose problems have a date."""
    released_until: str | None = None
    """Last day of the problems to use, in tasks whose problems have a date."""
    template: str | None = None
    """Prompt around the problem's text, which it names {problem}; by default the task's."""
    chat: bool = True
    """Apply the model's chat template, if it has one, unless the task is to go on with a text."""
    samples: int = 16
    """Samples per problem (n)."""
    pass_at: tuple[int, ...] = ()
    """Report pass@k for these k; by default 1, 2, 4, ... n."""
    sampler: SamplerName = "esamp"
    """How samples are drawn. Baselines: vanilla, top-p, top-k, min-p, fire, override, contrastive, tree-of-thoughts. esamp is Exploratory
    Sampling; subtraction and vocabulary are ablations of it; sharpened, entropy-matched, frozen, running-mean, shuffled and noise are
    controls that leave out one part of it each."""
    verifier: Annotated[str, Doc(f"auto: the task's; {VERIFIER_HELP}; module:function: your own.")] = "auto"
    verifier_timeout_s: float | None = None
    """Seconds one verdict may take; of a judge one request, of a contest's program one test case. By default the verifier's own: code 10,
    judge 60, others 30."""
    judge_url: str | None = None
    """Base URL of the judge's OpenAI-compatible API, such as http://localhost:8000/v1."""
    judge_model: str | None = None
    """Model the judge's API is asked for."""
    judge_key_variable: str | None = None
    """Environment variable that holds the judge's API key, on every node that scores; None for a server that wants none."""
    allow_unsafe_execution: bool = False
    """Run the code that a model wrote even where it cannot be locked in. Only on a machine you can afford to lose."""
    part: str | None = None
    """Draw only this part of the run, such as 2/4, the second of four; other places draw the others, and jobs.merge joins them."""
    part_by: PartBy = "problems"
    """What parts differ in: problems, or samples (units of work) of the same problems."""
    output: str | Path | None = None
    """Run folder: a path, or a URL such as s3://bucket/runs/x (fsspec says which package it needs); by default
    runs/<dataset>-<sampler>-<seed>. The same command goes on with a run that was stopped."""
    shards: int = 1
    """LLM shards (vLLM engines)."""
    trainers: int = 1
    """DistillerTrainer actors, each with its part of the problems; used with esamp.trainer actor."""
    min_shards: int | None = None
    """Shards that must be ready before the first sample is drawn; the others join as the cluster grows. By default all."""
    unit_attempts: int = 3
    """Engines that may end while they draw a unit of work, before it is given up and its rows say why."""
    samples_per_unit: int | None = None
    """Samples of one problem that are drawn, and saved, as one unit of work; by default all of them, so that they share a Distiller, an
    eighth of them where problems may --stop early, and no more than a shard's batch where they spill."""
    spill: bool | None = None
    """Draw a problem's samples on several shards at a time; a trainer actor lets them share the problem's Distiller. By default only
    where they are more than a shard's batch (engine.max_num_seqs) and the sampler allows it."""
    units_per_part: int | None = None
    """Units of work per output file: what a kill can lose, besides the units under way. By default 4, and more in runs of thousands."""
    verifiers: int = 1
    """Processes that score samples."""
    seed: int = 0
    """Seed of the run; every sample's seed follows from it, the problem's id and the sample's index."""
    stop: StoppingConfig = field(default_factory=StoppingConfig)
    """Adaptive k: stop a problem when it is solved so often, or hopeless."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """One shard's engine."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How a sample is drawn."""
    esamp: ESampConfig = field(default_factory=lambda: ESampConfig(trainer="actor"))
    """Exploratory Sampling; used with --sampler esamp, its ablations and controls."""
    exchange: ExchangeConfig = field(default_factory=ExchangeConfig)
    """How shards and trainers exchange rows and weights; used with esamp.trainer actor."""
    fire: FireConfig = field(default_factory=FireConfig)
    """FIRE; used with --sampler fire."""
    override: OverrideConfig = field(default_factory=OverrideConfig)
    """OverRIDE; used with --sampler override."""
    contrastive: ContrastiveConfig = field(default_factory=lambda: ContrastiveConfig(amateur="Qwen/Qwen3-0.6B"))
    """Contrastive decoding; used with --sampler contrastive. The amateur must have the model's vocabulary."""

    def __post_init__(self) -> None:
        for name in ("samples", "shards", "trainers", "unit_attempts", "units_per_part", "verifiers"):
            value = asdict(self)[name]
            if value is not None and value < 1:
                raise InputError(f"{name} must be >= 1; got {value}.")
        if isinstance(self.output, str) and "://" not in self.output:
            object.__setattr__(self, "output", Path(self.output))
        parse_part(self.part, self.part_by)
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be >= 1; got {self.limit}. Leave it out to use every problem.")
        if self.min_shards is not None and not 1 <= self.min_shards <= self.shards:
            raise InputError(f"min_shards must be in 1..shards; got {self.min_shards} with shards={self.shards}.")
        if self.samples_per_unit is not None and self.samples_per_unit < 1:
            raise InputError(
                f"samples_per_unit must be >= 1; got {self.samples_per_unit}. Leave it out to draw all at once."
            )
        self._check_ks()
        if self.template is not None and "{problem}" not in self.template:
            raise InputError(f'template must contain "{{problem}}"; got {self.template!r}.')
        if not (math.isfinite(self.verdict_timeout_s) and self.verdict_timeout_s > 0):
            raise InputError(f"verifier_timeout_s must be finite and > 0; got {self.verifier_timeout_s}.")
        settings = vars(self)
        if missing := [name for name in find_verifier(self.verifier_name).needs if not settings[name]]:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise InputError(f"verifier {self.verifier_name} needs {flags}, not given.")
        self._check_trainers()
        if self.spill and not self._may_spill:
            raise InputError(
                f"spill draws a problem's samples on several shards, but with sampler {self.sampler} and trainer {self.esamp.trainer} "
                "what they learn stays on one. Use --esamp.trainer actor with --sampler esamp, or leave spill out."
            )
        if self.spill and self.unit_size >= self.samples:
            raise InputError(
                f"spill spreads a problem's units over shards, but all its {self.samples} samples are one unit; give a --samples-per-unit "
                f"below {self.samples}."
            )
        try:
            _ = self.shard
        except ValueError as error:
            raise InputError(str(error)) from error
        self._check_task()

    def _check_ks(self) -> None:
        rule = self.stopping_rule
        if rule is not None and self.verifier_name == "none":
            raise InputError(
                "stop.successes needs a verifier that says what is correct; leave it out, or give --verifier."
            )
        if rule is not None and self.part is not None and self.part_by == "samples":
            raise InputError(
                "a problem that may stop early must be drawn in one place; use --part-by problems, or leave --stop out."
            )
        impossible = [k for k in self.pass_at if not 1 <= k <= self.largest_k]
        if impossible and impossible[0] <= self.samples:
            raise InputError(
                f"problems are given up after {self.largest_k} samples, so pass@k is not defined at k={impossible[0]}. "
                "Raise --stop.hopeless or ask for a smaller --pass-at."
            )
        if impossible:
            raise InputError(
                f"pass@k needs 1 <= k <= samples; got k={impossible[0]} with samples={self.samples}. "
                "Draw more --samples or ask for a smaller --pass-at."
            )

    def _check_trainers(self) -> None:
        if self.trainers == 1 or not isinstance(self.policy, ESampConfig):
            return
        if self.policy.trainer != "actor":
            raise InputError(
                f"trainers={self.trainers} needs esamp.trainer actor; got {self.policy.trainer!r}. Use --trainers 1."
            )
        if self.policy.scope in ("cluster", "prior"):
            raise InputError(
                f"esamp.scope {self.policy.scope!r} has one Distiller that all groups share, so it takes one trainer; got "
                f"trainers={self.trainers}. Use --trainers 1, or --esamp.scope prompt."
            )

    def _check_task(self) -> None:
        task = self.chosen_task
        if self.dataset == EMBEDDED_TASK and task.name != EMBEDDED_TASK:
            raise InputError(f"--dataset {EMBEDDED_TASK} is a task of its own; leave it out, or --task {task.name}.")
        for name in COLUMN_FLAGS:
            if asdict(self)[name] is not None and not isinstance(task.rows, Columns):
                raise InputError(f"task {task.name} reads its own columns; leave {name} out, or use no --task.")
        usual = TaskOptions()
        for name, value in asdict(self.task_options).items():
            if value != asdict(usual)[name] and name not in task.options:
                raise InputError(f"task {task.name} has no use for {name}={value!r}; leave it out.")
        for name in ("released_from", "released_until"):
            check_day(name, asdict(self)[name])

    @property
    def stopping_rule(self) -> StoppingRule | None:
        """When a problem stops; None if all its samples are drawn."""
        return self.stop.rule(self.samples)

    @property
    def largest_k(self) -> int:
        """The largest k at which pass@k is defined."""
        rule = self.stopping_rule
        return self.samples if rule is None else rule.hopeless

    @property
    def unit_size(self) -> int:
        """Samples in one unit of work, but for the last of a problem."""
        usual = self.samples if self.stopping_rule is None else max(1, self.samples // WAVES)
        if self.spills:
            usual = min(usual, self.engine.max_num_seqs)
        return min(self.samples_per_unit or usual, self.samples)

    @property
    def chosen_task(self) -> Task:
        """The task named; else countdown, or columns where a dataset is named. Raises InputError if there is no such task."""
        if self.task is not None:
            return find_task(self.task)
        return find_task(EMBEDDED_TASK if self.dataset_path is None else COLUMN_TASK)

    @property
    def dataset_path(self) -> str | None:
        """The file or hub id that rows come from; None for the task's own source."""
        return None if self.dataset == EMBEDDED_TASK else self.dataset

    @property
    def task_options(self) -> TaskOptions:
        """What the task may know of this config."""
        return TaskOptions(
            choices_seed=self.choices_seed, released_from=self.released_from, released_until=self.released_until
        )

    def prompt_template(self, *, is_chat: bool) -> str:
        """The template around a problem, with or without a chat template around that."""
        return self.template if self.template is not None else self.chosen_task.template(is_chat=is_chat)

    @property
    def run_part(self) -> Part:
        """What is drawn here."""
        return parse_part(self.part, self.part_by)

    @property
    def run_folder(self) -> str | Path:
        """Where the run is kept: a path or a URL."""
        return self.output or Path("runs") / f"{self.dataset_name}-{self.sampler}-{self.seed}"

    @property
    def dataset_name(self) -> str:
        """What is asked, in one word: the task's name, else the last part of a hub id, or a file's name without its ending."""
        if self.task is not None or self.dataset_path is None:
            return self.chosen_task.name
        path = Path(self.dataset_path)
        return path.stem if path.suffix in LOCAL_SUFFIXES else path.name

    @property
    def verifier_name(self) -> str:
        """The verifier with "auto" resolved."""
        return self.chosen_task.verifier if self.verifier == "auto" else self.verifier

    @property
    def verdict_timeout_s(self) -> float:
        """Seconds one verdict may take, with the verifier's own limit where the run names none."""
        if self.verifier_timeout_s is not None:
            return self.verifier_timeout_s
        return find_verifier(self.verifier_name).timeout_s

    @property
    def _may_spill(self) -> bool:
        """False where samples of a problem learn from each other on one shard only."""
        policy = self.policy
        return policy is None or (isinstance(policy, ESampConfig) and (policy.beta == 0 or policy.trainer != "local"))

    @property
    def spills(self) -> bool:
        """True if a problem's samples may be drawn on several shards at a time."""
        wanted = self.samples > self.engine.max_num_seqs if self.spill is None else self.spill
        return wanted and self._may_spill

    @property
    def beta(self) -> float:
        """Strength of exploration; 0 where no Distiller, nor what stands for one, takes part."""
        policy = self.policy
        return policy.beta if isinstance(policy, ESampConfig) else 0.0

    @property
    def policy(self) -> PolicyConfig | None:
        """What stands between the model's logits and the draw; None for vLLM's own draw."""
        return SAMPLERS[self.sampler].policy(self._sampler_settings)

    @property
    def drawn_with(self) -> SamplingConfig:
        """The sampling parameters that the sampler makes of the run's."""
        return SAMPLERS[self.sampler].sampling(self._sampler_settings)

    @property
    def _sampler_settings(self) -> SamplerSettings:
        return SamplerSettings(
            sampling=self.sampling,
            esamp=self.esamp,
            fire=self.fire,
            override=self.override,
            contrastive=replace(self.contrastive, amateur=model_path(self.contrastive.amateur)),
        )

    @property
    def model_path(self) -> str:
        """What vLLM and transformers load."""
        return model_path(self.model)

    @property
    def shard(self) -> ShardConfig:
        """What one LLMShard needs."""
        return ShardConfig(
            model=self.model_path,
            engine=self.engine,
            sampling=self.drawn_with,
            policy=self.policy,
            exchange=self.exchange,
            spill=self.spills,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in a YAML file."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain

    @property
    def settings_that_matter(self) -> dict[str, Any]:
        """What decides samples and verdicts, flat: {"sampling.temperature": 1.0, ...}. ESamp's settings only if it is used; what the
        task decides is spelt out, so that a task that changes makes another run."""
        settings = flatten(self.to_dict()) | {
            "task": self.chosen_task.name,
            "dataset": self.dataset_path,
            "template": self.prompt_template(is_chat=self.chat),
            "verifier": self.verifier_name,
            "verifier_timeout_s": self.verdict_timeout_s,
        }
        unused = [section for section in SECTIONS if section != SAMPLERS[self.sampler].section]
        if not (isinstance(self.policy, ESampConfig) and self.policy.trainer == "actor"):
            unused.append("exchange")
        return {
            name: value
            for name, value in settings.items()
            if name not in MAY_CHANGE and name.partition(".")[0] not in unused
        }

    @property
    def config_hash(self) -> str:
        """Short sha256 of `settings_that_matter`."""
        return hashlib.sha256(json.dumps(self.settings_that_matter, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "RunConfig":
        """The config that `to_dict` gave. Raises InputError on a name that does not exist."""
        config: RunConfig = config_from_dict(cls, settings)
        return config


def check_day(name: str, value: str | None) -> None:
    """Raise InputError if a setting is given and is no day."""
    try:
        is_day = value is None or date.fromisoformat(value).isoformat() == value
    except ValueError:
        is_day = False
    if not is_day:
        raise InputError(f"{name} must be a day such as 2025-01-31; got {value!r}.")


def model_path(model: str) -> str:
    """What vLLM and transformers load: a hub id, or a folder; "embedded" is the model that ships with the project."""
    return str(EMBEDDED_MODEL) if model == "embedded" else model
