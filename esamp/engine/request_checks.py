"""Refuses requests whose extra_args (`vllm_xargs` over HTTP) make no sense, before they reach the engine.

vLLM asks every logits processor that it was given to validate a request, and answers 400 with what it raises. This one does nothing else.
"""

from typing import Any

from torch import Tensor
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import LogitsProcessor

from esamp.request_args import RECORD_KEY, check_request_args


class RequestChecks(LogitsProcessor):
    """A logits processor that leaves the logits alone."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Raises VLLMValidationError, which a server answers with 400."""
        arguments = sampling_params.extra_args or {}
        try:
            check_request_args(arguments)
        except ValueError as error:
            raise VLLMValidationError(str(error), parameter="vllm_xargs") from error
        if RECORD_KEY in arguments and sampling_params.n > 1:
            raise VLLMValidationError(
                f"{RECORD_KEY} names the record of one sample; got n={sampling_params.n}. Send n requests.",
                parameter="vllm_xargs",
            )

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        """vLLM's signature."""

    def apply(self, logits: Tensor) -> Tensor:
        """Unchanged."""
        return logits

    def is_argmax_invariant(self) -> bool:
        """True: vLLM then leaves it out for greedy rows."""
        return True

    def update_state(self, batch_update: Any) -> None:
        """Nothing to keep."""
