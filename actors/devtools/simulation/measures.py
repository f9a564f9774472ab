"""What a simulation measures, from two snapshots of all counters; and the account of all its units and rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil

from actors.devtools.simulation.callers import UnitObservation
from actors.devtools.simulation.config import SimulationConfig
from actors.types import TrainerStats

if TYPE_CHECKING:
    from actors.devtools.simulation.shard import ShardObservation


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Where every unit and every row of a simulation went."""

    units_asked: int
    units_returned: int
    units_returned_again: int
    generated_rows: int
    sent_rows: int
    dropped_rows: int
    """By shards: they were never sent."""
    lost_rows: int
    trained_rows: int
    refused_rows: int
    """By trainers."""

    @property
    def waiting_rows(self) -> int:
        """Neither sent nor dropped."""
        return self.generated_rows - self.sent_rows - self.dropped_rows

    @property
    def rows_under_way(self) -> int:
        """Sent, and not answered."""
        return self.sent_rows - self.lost_rows - self.trained_rows - self.refused_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Between two snapshots; rates are of the whole cluster and per second."""

    steps_per_s: float
    """Of one shard."""
    hidden_bytes_per_s: float
    trained_rows_per_s: float
    dropped_share: float
    steps_per_message: float
    trainer_busy: float
    """Share of its time that a trainer spends on messages, by its own clock."""
    trainer_processor: float
    """Processor time of a trainer's process per second."""
    updates_per_s: float
    update_bytes_per_s: float
    lag: float
    """Mean decode steps that weights are behind, the present one included."""
    exchange_time: float
    """Share of a shard's time that its exchange takes."""
    object_store_bytes: float
    """Mean."""
    driver_bytes: float
    router_calls_per_s: float
    unit_wait_s: float
    """Of a unit for a lease, mean."""
    machine_busy: float
    """Share of all processors of this machine, whoever used them."""
    seconds: float
    account: Account


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All counters at one moment."""

    at: float
    shards: list["ShardObservation"]
    trainer: TrainerStats
    trainer_processor_s: float
    units: UnitObservation


def account_of(snapshot: Snapshot) -> Account:
    """Totals since the start."""
    exchanges = [shard.exchange for shard in snapshot.shards]
    return Account(
        units_asked=snapshot.units.asked,
        units_returned=snapshot.units.returned,
        units_returned_again=snapshot.units.returned_again,
        generated_rows=sum(shard.rows for shard in snapshot.shards),
        sent_rows=sum(exchange.sent_rows for exchange in exchanges),
        dropped_rows=sum(exchange.dropped_rows for exchange in exchanges),
        lost_rows=sum(exchange.lost_rows for exchange in exchanges),
        trained_rows=snapshot.trainer.trained_rows,
        refused_rows=snapshot.trainer.refused_rows,
    )


def measure(
    config: SimulationConfig,
    before: Snapshot,
    after: Snapshot,
    stored: list[float],
    machine_busy: float,
    account: Account,
) -> Measured:
    """What happened between two snapshots."""
    seconds, then, now = after.at - before.at, account_of(before), account_of(after)

    def of_shards(count: Callable[["ShardObservation"], float]) -> float:
        return sum(map(count, after.shards)) - sum(map(count, before.shards))

    steps = of_shards(lambda shard: shard.steps)
    generated, dropped = now.generated_rows - then.generated_rows, now.dropped_rows - then.dropped_rows
    messages = of_shards(lambda shard: shard.exchange.messages)
    lags = np.concatenate([shard.lag_steps for shard in after.shards])
    busy_s = after.trainer.busy_seconds - before.trainer.busy_seconds
    calls = (now.units_asked - then.units_asked) + (now.units_returned - then.units_returned)
    return Measured(
        steps_per_s=steps / seconds / config.shards,
        hidden_bytes_per_s=of_shards(lambda shard: shard.exchange.sent_bytes) / seconds,
        trained_rows_per_s=(now.trained_rows - then.trained_rows) / seconds,
        dropped_share=dropped / generated,
        steps_per_message=(now.sent_rows - then.sent_rows) / messages / config.inputs.rows / config.inputs.part,
        trainer_busy=busy_s / seconds / config.trainers,
        trainer_processor=(after.trainer_processor_s - before.trainer_processor_s) / seconds / config.trainers,
        updates_per_s=(after.trainer.publications - before.trainer.publications) / seconds,
        update_bytes_per_s=(after.trainer.published_bytes - before.trainer.published_bytes) / seconds,
        lag=float(lags.mean()),
        exchange_time=of_shards(lambda shard: shard.exchange.rows_s + shard.exchange.weights_s)
        / seconds
        / config.shards,
        object_store_bytes=float(np.mean(stored)),
        driver_bytes=float(psutil.Process().memory_info().rss),
        router_calls_per_s=calls / seconds,
        unit_wait_s=float(np.mean(after.units.waits_s)) if after.units.waits_s else 0.0,
        machine_busy=machine_busy,
        seconds=seconds,
        account=account,
    )
