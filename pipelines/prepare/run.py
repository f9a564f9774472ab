"""A run before an engine starts: all that it is made of is loaded and checked, and nothing is written."""

from dataclasses import dataclass
from difflib import get_close_matches

from esamp.engine.arguments import engine_argument_names
from pipelines.capacity.exchange import choose_trainer
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.load_problems import load_problems
from pipelines.prepare.model_files import load_model_config, load_tokenizer, model_fingerprint
from pipelines.prepare.prompt import format_prompt
from pipelines.problems.problem import data_fingerprint
from pipelines.runs.extend import extended
from pipelines.runs.folder import RunFolder, WorkUnitCount
from pipelines.runs.manifest import Manifest, new_manifest
from pipelines.runs.plan import Plan, plan_run
from pipelines.verifiers.scorer import check_verifier
from pipelines.verifiers.settings import verifier_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRun:
    """A run that passed every check that can be made without an engine."""

    config: RunConfig
    folder: RunFolder
    manifest: Manifest
    plan: Plan
    verifier_line: str
    """Where answers are scored, if that is worth a line."""
    trainer_line: str = ""
    """Who trains the Distillers and why, if the run left that open."""

    @property
    def run_id(self) -> str:
        """Of the run in the folder, else the one that it begins with."""
        return (self.folder.manifest() if self.folder.has_run else self.manifest).run_id

    def count_work_units(self) -> WorkUnitCount:
        """How far the run is."""
        return self.folder.count_work_units(self.manifest)


def prepare_run(config: RunConfig, *, extend: int | None = None) -> PreparedRun:
    """Load and check what the run, or the extended run, is made of. Raises InputError; writes nothing."""
    config, extended_from = (config, ()) if extend is None else extended(config, extend)
    load_model_config(config)
    check_engine_arguments(config)
    folder = RunFolder(config.run_folder)
    folder.storage.check_reachable()
    config, trainer_line = choose_trainer(config, folder.manifest().config if folder.has_run else None)
    verifier_line = check_verifier(verifier_settings(config))
    problems = load_problems(config)
    tokenizer = load_tokenizer(config)
    plan = plan_run(
        problems, lambda problem: format_prompt(problem, config, tokenizer), config, extended_from=extended_from
    )
    _ = (
        plan.first_prompt
    )  # prompts are made as they are needed, and what forbids one forbids all: refused here, before anything starts
    manifest = new_manifest(
        config,
        data_fingerprint=data_fingerprint(problems),
        model_fingerprint=model_fingerprint(config),
        num_problems=len(problems),
        num_units=plan.num_units,
        extended_from=extended_from,
    )
    check_partition(manifest)
    folder.check(manifest)
    return PreparedRun(
        config=config,
        folder=folder,
        manifest=manifest,
        plan=plan,
        verifier_line=verifier_line,
        trainer_line=trainer_line,
    )


def check_engine_arguments(config: RunConfig) -> None:
    """Raise InputError at an argument of --engine.extra that this vLLM does not have. Without vLLM here, the shards find out."""
    known = engine_argument_names()
    for name in config.engine.extra_arguments:
        if known and name not in known:
            near = get_close_matches(name, known, n=1)
            raise InputError(
                f"engine.extra: vLLM has no engine argument {name}{f'; did you mean {near[0]}?' if near else '.'} They are those of "
                "vllm.EngineArgs."
            )


def check_partition(manifest: Manifest) -> None:
    """Raise InputError if the partition that is to be generated here is empty."""
    config = manifest.config
    if config.run_partition.count(manifest.num_problems, len(manifest.group_sizes)) == 0:
        suggestion = "Use fewer partitions" + (
            " or a smaller --samples-per-work-unit." if config.partition_by == "samples" else "."
        )
        raise InputError(
            f"partition {config.partition} by {config.partition_by} is empty: the run has {manifest.num_problems} problems of "
            f"{len(manifest.group_sizes)} work units each. {suggestion}"
        )
