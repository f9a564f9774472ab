"""What makes two runs the same run: the settings that decide samples and verdicts, and their hash."""

import hashlib
import json
from typing import Any

from esamp.config import ESampConfig
from esamp.policy_config import PolicyConfig
from pipelines.config.renamed import to_stored
from pipelines.config.run import RunConfig
from pipelines.config.yaml_flags import flatten

MAY_CHANGE = frozenset(
    {
        "output",
        "partition",
        "partition_by",
        "pass_at",
        "shards",
        "trainers",
        "min_shards",
        "wait_for_resources",
        "work_unit_attempts",
        "verifiers",
        "save_every",
        "grace",
        "stall_after",
        "judge_url",
        "judge_key_variable",
        "allow_unsafe_execution",
        "work_units_per_file",
        "engine.num_gpus",
        "engine.num_cpus",
        "engine.kv_cache_gib",
        "engine.gpu_memory_utilization",
        "engine.vllm_metrics",
        "exchange.share",
        "exchange.trainer_gpus",
    }
)
"""Settings that may differ between a run and its continuation: where it runs and what is reported, not what a sample or a verdict is."""

ADDED: dict[str, Any] = {
    "record_rollouts": False,
    "engine.extra": "{}",
    "sampling.stop": [],
    "esamp.distiller": "mlp",
    "esamp.source_depth": None,
    "esamp.rls_features": 512,
    "esamp.rls_ridge": 10.0,
    "esamp.rls_forgetting": 1.0,
    "esamp.stagger": 0,
    "latent.source_depth": None,
}
"""Settings that came after runs had been written, each at the value that those runs amount to. At this value a setting is not hashed, so
that the older runs keep their hash and go on. A new setting of a section that already exists gets a line here."""


def settings_that_matter(config: RunConfig) -> dict[str, Any]:
    """What decides samples and verdicts, flat: {"sampling.temperature": 1.0, ...}.

    Of the samplers' sections only the one that is used. What the task decides is spelt out, so that a task that changes makes another run.
    """
    settings = flatten(config.to_dict()) | {
        "task": config.chosen_task.name,
        "dataset": config.dataset_path,
        "template": config.prompt_template(is_chat=config.chat),
        "verifier": config.verifier_name,
        "verifier_timeout_s": config.verdict_timeout_s,
    }
    unused = [
        name
        for name, value in vars(config).items()
        if isinstance(value, PolicyConfig) and name != config.sampler_section
    ]
    if not (isinstance(config.policy, ESampConfig) and config.policy.trainer in ("auto", "actor")):
        unused.append("exchange")
    return {
        name: value
        for name, value in settings.items()
        if name not in MAY_CHANGE and name.partition(".")[0] not in unused
    }


def config_hash(config: RunConfig) -> str:
    """Short sha256 of `settings_that_matter`, under the names that run.json has for them: renaming or adding a setting changes no hash."""
    settings = to_stored(
        {
            name: value
            for name, value in settings_that_matter(config).items()
            if name not in ADDED or value != ADDED[name]
        }
    )
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
