"""vLLM's OpenAI server with a sampling policy.

    python -m jobs.serve --model Qwen/Qwen2.5-7B-Instruct --sampler esamp --esamp.beta 0.25 --port 8000
    python -m jobs.serve --model Qwen/Qwen2.5-7B-Instruct --sampler quasi --max-model-len 4096

Options that are not listed here are those of `vllm serve`, which `--vllm-help` lists. Log-probabilities in replies are those of what was
drawn from. A request says more in `vllm_xargs`: esamp_group, esamp_group_size, esamp_sample, esamp_beta, esamp_vanilla, esamp_record,
esamp_record_rollout; docs/serving.md says what each is, and which routes there are beside vLLM's own.
"""

import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro
from typing_extensions import Doc

from esamp.config import ESampConfig
from esamp.policies import POLICIES
from esamp.policy_config import PolicyConfig
from esamp.server.arguments import VANILLA, ask_for_v1_runner, named_policy
from jobs.command.exit_codes import one_line_errors
from pipelines.config.policy_sections import PolicySections
from pipelines.config.run import model_path
from pipelines.errors import InputError

if TYPE_CHECKING:
    from ray.serve import Application

PROGRAM = "python -m jobs.serve"
MAX_REQUESTS = 1024
"""Requests under way on one replica of Ray Serve."""
SAMPLER_HELP = "; ".join([f"{VANILLA}: vLLM's own", *(f"{name}: {config.about}" for name, config in POLICIES.items())])


@dataclass(frozen=True, kw_only=True)
class ServeCommand(PolicySections):
    """The command line of this job."""

    model: str
    """Hugging Face model id or local folder; "embedded" is the small Countdown model that ships with the project."""
    sampler: Annotated[str, Doc(SAMPLER_HELP)] = "esamp"
    vllm_help: bool = False
    """List the options of vLLM's server, and leave."""
    esamp: ESampConfig = field(default_factory=ESampConfig)
    """Exploratory Sampling; used with --sampler esamp."""

    @property
    def policy(self) -> PolicyConfig:
        """What the engine samples by. Raises InputError at a sampler that is none of the engine's."""
        if self.sampler == VANILLA:
            return named_policy(VANILLA)
        policy = vars(self).get(self.sampler)
        if not isinstance(policy, PolicyConfig):
            raise InputError(f"sampler must be one of {', '.join([VANILLA, *POLICIES])}; got {self.sampler!r}.")
        if isinstance(policy, ESampConfig) and policy.trainer in ("actor", "auto"):
            raise InputError(f"a server has no trainer actors; use --esamp.trainer local. Got {policy.trainer!r}.")
        return policy


def main(args: list[str]) -> None:
    """Parse, serve."""
    with one_line_errors():
        command, rest = tyro.cli(ServeCommand, prog=PROGRAM, description=__doc__, args=args, return_unknown_args=True)
        policy = command.policy
        ask_for_v1_runner()  # before vLLM is imported
        # Imported late: vLLM takes seconds that --help and a mistyped flag need not wait for.
        from esamp.server.launch import serve
        from esamp.server.vllm_options import vllm_arguments

        serve(vllm_arguments(model_path(command.model), policy, ["--help=all"] if command.vllm_help else rest))


def app(args: dict[str, str]) -> "Application":
    """The server as an application of Ray Serve, for `serve run jobs.serve:app flags="--model ... --sampler ..."` and for a RayService.

    `args`: {"flags": ...}, those of this command in one string; Serve sets where it listens. Raises InputError as the command does.
    """
    command, rest = tyro.cli(ServeCommand, prog=PROGRAM, args=shlex.split(args["flags"]), return_unknown_args=True)
    # Imported late: jobs.serve itself needs no Ray.
    from ray import serve

    from actors.serving.replica import OpenAIServer

    deployment = serve.deployment(
        serve.ingress()(OpenAIServer),
        name="OpenAIServer",
        # The engine queues what its batch cannot hold; Serve's own limit, 5, would keep the batch empty.
        max_ongoing_requests=MAX_REQUESTS,
    )
    application: Application = deployment.bind(model_path(command.model), command.policy, rest)
    return application


if __name__ == "__main__":
    main(sys.argv[1:])
