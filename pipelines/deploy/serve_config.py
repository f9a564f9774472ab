"""What Ray Serve is asked to run in a RayService: jobs.serve as an application, with the run's model, sampler and engine."""

import json
import shlex
from dataclasses import fields, replace
from typing import Any

from actors.config import EngineConfig
from esamp.config import ESampConfig
from esamp.policy_config import PolicyConfig
from pipelines.config.run import RunConfig
from pipelines.deploy.command_line import flag
from pipelines.deploy.commented_yaml import CommandLine, Document, Noted
from pipelines.errors import InputError

SERVE_PORT = 8000
DEPLOYMENT = "OpenAIServer"
"""As jobs.serve names it."""


def serve_config(run: RunConfig) -> Document:
    """Ray Serve's own config: a replica for each shard of the run. Raises InputError at a sampler that a server does not have."""
    engine = run.engine
    options = {"num_cpus": engine.num_cpus} | ({"num_gpus": engine.num_gpus} if engine.num_gpus else {})
    application = {
        "name": "esamp",
        "import_path": "jobs.serve:app",
        "route_prefix": "/",
        "args": {"flags": Noted(CommandLine(serve_lines(run)), "The flags of jobs.serve.")},
        "deployments": [
            {
                "name": DEPLOYMENT,
                "num_replicas": Noted(
                    run.shards,
                    "Siblings explore together on one replica: ask for the samples of a prompt in one request (n). Requests of one "
                    "esamp_group may reach different replicas.",
                ),
                "ray_actor_options": options,
            }
        ],
    }
    return Document(
        {
            "proxy_location": "EveryNode",
            "http_options": Noted(
                {"host": "0.0.0.0", "port": SERVE_PORT},
                "Inside the cluster's network only, by the Service that KubeRay makes: put what checks its users before it.",
            ),
            "applications": [application],
        }
    )


def serve_lines(run: RunConfig) -> tuple[str, ...]:
    """The flags of jobs.serve, a line for each."""
    policy = served_policy(run)
    flags = [["--model", run.model], ["--sampler", "vanilla" if policy is None else policy.name]]
    if policy is not None:
        flags += [
            flag(f"{policy.name}.{setting.name}", value)
            for setting in fields(policy)
            if (value := getattr(policy, setting.name)) != setting.default
        ]
    return tuple(shlex.join(words) for words in [*flags, *engine_flags(run.engine)])


def served_policy(run: RunConfig) -> PolicyConfig | None:
    """The sampler as a server has it: Distillers learn in the engine. Raises InputError at one that requests set by themselves, or that
    trainer actors train."""
    policy = run.policy
    if policy is None and run.sampler != "vanilla":
        raise InputError(
            f"sampler {run.sampler} is what each request to a server says (temperature, top_p, ...); use vanilla."
        )
    if isinstance(policy, ESampConfig) and policy.trainer == "auto":
        return replace(policy, trainer="local")
    if isinstance(policy, ESampConfig) and policy.trainer == "actor":
        raise InputError("a server has no trainer actors; use --run.esamp.trainer local.")
    return policy


def engine_flags(engine: EngineConfig) -> list[list[str]]:
    """vLLM's own options, as shards set them."""
    flags = [["--dtype", engine.dtype], ["--max-num-seqs", str(engine.max_num_seqs)], ["--seed", str(engine.seed)]]
    if engine.max_model_len is not None:
        flags.append(["--max-model-len", str(engine.max_model_len)])
    if engine.enforce_eager:
        flags.append(["--enforce-eager"])
    if engine.num_gpus:
        flags.append(["--gpu-memory-utilization", str(engine.gpu_memory_utilization * min(1, engine.num_gpus))])
        flags.append(["--tensor-parallel-size", str(engine.tensor_parallel_size)])
    else:
        flags.append(["--kv-cache-memory-bytes", str(round(engine.kv_cache_gib * 2**30))])
    return flags + [vllm_option(name, value) for name, value in engine.extra_arguments.items()]


def vllm_option(name: str, value: Any) -> list[str]:
    """An argument of vLLM's engine on its command line."""
    if isinstance(value, bool):
        return flag(name, value)
    return ["--" + name.replace("_", "-"), value if isinstance(value, str) else json.dumps(value)]
