"""vLLM's OpenAI server with a sampling policy.

    python -m jobs.serve --model Qwen/Qwen2.5-7B-Instruct --sampler esamp --esamp.beta 0.25 --port 8000
    python -m jobs.serve --model Qwen/Qwen2.5-7B-Instruct --sampler quasi --max-model-len 4096

Options that are not listed here are those of `vllm serve`, which `--vllm-help` lists. Log-probabilities in replies are those of what was
drawn from. A request says more in `vllm_xargs`: esamp_group, esamp_group_size, esamp_sample, esamp_beta, esamp_vanilla, esamp_record,
esamp_record_rollout; docs/serving.md says what each is, and which routes there are beside vLLM's own.
"""

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro
from typing_extensions import Doc

from esamp.config import ESampConfig
from esamp.policies import POLICIES
from esamp.policy_config import PolicyConfig
from esamp.server.arguments import VANILLA, ask_for_v1_runner, named_policy, our_arguments
from jobs.command.exit_codes import one_line_errors
from pipelines.config.policy_sections import PolicySections
from pipelines.config.run import model_path
from pipelines.errors import InputError

if TYPE_CHECKING:
    from argparse import Namespace

PROGRAM = "python -m jobs.serve"
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
        server_args = vllm_arguments(model_path(command.model), policy, ["--help=all"] if command.vllm_help else rest)
        # Imported late: vLLM takes seconds that --help and a mistyped flag need not wait for.
        from esamp.server.launch import serve

        serve(server_args)


def vllm_arguments(model: str, policy: PolicyConfig, rest: list[str]) -> "Namespace":
    """What vLLM's server parses. `rest` wins over our arguments, but for the worker and its policy. vLLM's parser ends the process with
    code 2 at an option that nobody knows."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser(prog=PROGRAM))
    ours = our_arguments(policy)
    args = parser.parse_args(
        [
            *("--model", model),
            *("--logprobs-mode", ours["logprobs_mode"]),
            *("--logits-processors", *ours["logits_processors"]),
            *rest,
            *("--worker-cls", ours["worker_cls"]),
            *("--additional-config", json.dumps(ours["additional_config"])),
        ]
    )
    validate_parsed_serve_args(args)
    return args


if __name__ == "__main__":
    main(sys.argv[1:])
