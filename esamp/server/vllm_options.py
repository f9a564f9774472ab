"""What vLLM's OpenAI server parses, with a policy of ours in it."""

import json
from collections.abc import Sequence
from typing import Any

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

from esamp.policy_config import PolicyConfig
from esamp.server.arguments import our_arguments

LOOPBACK = "127.0.0.1"


def vllm_arguments(model: str, policy: PolicyConfig, rest: Sequence[str]) -> Any:
    """`rest`: words of vLLM's own command line. It wins over our arguments, but for the worker and its policy. vLLM's parser ends the
    process with code 2 at an option that nobody knows.

    The server listens on loopback unless `rest` has another --host; vLLM's own default is every interface of the machine.
    """
    parser = make_arg_parser(FlexibleArgumentParser(prog="python -m jobs.serve"))
    ours = our_arguments(policy)
    args = parser.parse_args(
        [
            *("--model", model),
            *("--host", LOOPBACK),
            *("--logprobs-mode", ours["logprobs_mode"]),
            *("--logits-processors", *ours["logits_processors"]),
            *rest,
            *("--worker-cls", ours["worker_cls"]),
            *("--additional-config", json.dumps(ours["additional_config"])),
        ]
    )
    validate_parsed_serve_args(args)
    return args
