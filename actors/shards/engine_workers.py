"""How a shard reaches the workers of its engine: the one that runs in the shard's own process, or one process per GPU."""

from typing import Protocol

from vllm import LLMEngine

from esamp.exploration.explorer import Explorer
from esamp.policy import Counters
from esamp.telemetry import TokenRecords
from esamp.worker import ESampWorker


class EngineWorkers(Protocol):
    """What a shard asks of them. Called from the engine's thread only, between two steps; `explorer` also before the first."""

    def counters(self) -> Counters: ...

    def records(self, request_ids: list[str]) -> dict[str, TokenRecords]:
        """Per-token records of requests that have ended; the workers keep no copy."""
        ...

    def expect_no_more(self, group: str | None) -> None:
        """As ESampWorker.esamp_expect_no_more."""
        ...

    def explorer(self) -> Explorer:
        """The policy itself, which a trainer elsewhere writes to. Raises TypeError if it cannot be had."""
        ...


class InProcessWorker:
    """The only worker, as an object."""

    def __init__(self, engine: LLMEngine) -> None:
        [self._worker] = engine.collective_rpc(the_worker)

    def counters(self) -> Counters:
        return Counters(**self._worker.esamp_counters())

    def records(self, request_ids: list[str]) -> dict[str, TokenRecords]:
        records: dict[str, TokenRecords] = self._worker.telemetry.pop(request_ids)
        return records

    def expect_no_more(self, group: str | None) -> None:
        self._worker.esamp_expect_no_more(group)

    def explorer(self) -> Explorer:
        explorer: Explorer = self._worker.explorer
        return explorer


class TensorParallelWorkers:
    """One process per GPU. All of them see the same hidden states and sample the same tokens, so the first one's
    counters and records are taken.

    A call goes over the message queue that also carries the engine's steps. The queue has one writer and matches replies to calls by
    order, so a call during a step would take the step's reply. Untested on GPUs: no machine with several of them was at hand.
    """

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine

    def counters(self) -> Counters:
        return Counters(**self._engine.collective_rpc("esamp_counters")[0])

    def records(self, request_ids: list[str]) -> dict[str, TokenRecords]:
        first, *_ = self._engine.collective_rpc("esamp_records", args=(request_ids,))
        return {request_id: TokenRecords(**records) for request_id, records in first.items()}

    def expect_no_more(self, group: str | None) -> None:
        self._engine.collective_rpc("esamp_expect_no_more", args=(group,))

    def explorer(self) -> Explorer:
        raise TypeError("the Distillers of a tensor-parallel engine live in its workers' processes.")


def the_worker(worker: ESampWorker) -> ESampWorker:
    """For collective_rpc on an in-process engine, whose worker is in this process."""
    return worker
