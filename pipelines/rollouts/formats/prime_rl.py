"""prime-rl's TrainingSample: a folder of {step}.bin, each a msgpack list of the structs.

Read in prime-rl 0.8.0 (559b4477): src/prime_rl/transports/rollouts/types.py (TrainingSample is array-like, so its fields are found by their
place; the four arrays cover prompt and response) and src/prime_rl/trainer/batch.py (prepare_sample refuses a sample without advantages).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from pipelines.errors import InputError
from pipelines.rollouts.formats.writer import ExportContext, Metadata, atomic_folder, write_sidecar
from pipelines.rollouts.rollout import Rollout, RolloutGroup

RESERVED_NAME = "all"
"""env_name that prime-rl keeps for itself."""


class TrainingSample(msgspec.Struct, array_like=True, omit_defaults=True):
    """prime-rl's struct: the order of the fields is what is stored. The fields that we leave None keep the places of those behind them."""

    token_ids: list[int]
    mask: list[bool]
    logprobs: list[float]
    temperatures: list[float]
    env_name: str
    ref_logprobs: list[float] | None = None
    mm_kwargs: None = None
    routed_experts: None = None
    mm_token_type_ids: list[int] | None = None
    rl_weights: list[float] | None = None
    ce_weights: list[float] | None = None
    ref_kl_weights: list[float] | None = None
    advantages: list[float] | None = None


@contextmanager
def open_writer(output: Path, context: ExportContext) -> Iterator["PrimeRlSamples"]:
    """A writer to the folder `output`."""
    if context.data_source == RESERVED_NAME:
        raise InputError(
            f"prime-rl keeps the environment name {RESERVED_NAME!r} for itself; give another --data-source."
        )
    with atomic_folder(output) as folder:
        yield PrimeRlSamples(folder, context)


class PrimeRlSamples:
    """Groups to files. The last step may hold fewer groups: prime-rl packs samples whatever their number."""

    def __init__(self, folder: Path, context: ExportContext) -> None:
        self._folder = folder
        self._context = context
        self._pending: list[RolloutGroup] = []
        self._step = 0
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, group: RolloutGroup) -> None:
        self._pending.append(group)
        self._rows += len(group.rollouts)
        if len(self._pending) == self._context.groups_per_step:
            self._flush()

    def finish(self, metadata: Metadata) -> None:
        if self._pending:
            self._flush()
        write_sidecar(self._folder, {**metadata, "steps": self._step})

    def _flush(self) -> None:
        samples = [
            training_sample(group, rollout, self._context) for group in self._pending for rollout in group.rollouts
        ]
        (self._folder / f"{self._step}.bin").write_bytes(msgspec.msgpack.encode(samples))
        self._step += 1
        self._pending = []


def training_sample(group: RolloutGroup, rollout: Rollout, context: ExportContext) -> TrainingSample:
    """A rollout as prime-rl trains on it. Numbers of the prompt's tokens are masked out, so that their values do not matter."""
    assert rollout.advantage is not None, rollout.sample_index
    num_prompt, num_response = len(group.prompt_token_ids), len(rollout.response_token_ids)
    total = num_prompt + num_response
    return TrainingSample(
        token_ids=np.concatenate([group.prompt_token_ids, rollout.response_token_ids]).tolist(),
        mask=[False] * num_prompt + [True] * num_response,
        logprobs=[0.0] * num_prompt + rollout.behaviour_logprobs.tolist(),
        temperatures=[context.labels.temperature] * total,
        env_name=context.data_source,
        advantages=[0.0] * num_prompt + [rollout.advantage] * num_response,
    )
