"""What a simulation measures, from two looks at everybody's counters; and the account of all its units and rows."""

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
    drawn_rows: int
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
        return self.drawn_rows - self.sent_rows - self.dropped_rows

    @property
    def rows_under_way(self) -> int:
        """Sent, and not answered."""
        return self.sent_rows - self.lost_rows - self.trained_rows - self.refused_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Between two looks; rates are of the whole cluster and per second."""

    steps_per_s: float
    """Of one shard."""
    hidden_bytes_per_s: float
    trained_rows_per_s: float
    dropped_share: float
    steps_per_letter: float
    trainer_busy: float
    """Share of its time that a trainer spends on letters, by its clock."""
    trainer_processor: float
    """Processor time of a trainer's process per second."""
    publications_per_s: float
    publication_bytes_per_s: float
    lag_mean: float
    lag_median: float
    lag_95: float
    """Decode steps that weights are behind, the present one included."""
    lag_s_median: float
    lag_s_95: float
    exchange_time: float
    """Share of a shard's time that its exchange takes."""
    object_store_bytes: float
    """Mean."""
    driver_bytes: float
    router_calls_per_s: float
    unit_wait_s: float
    """Of a unit for a seat, mean."""
    machine_busy: float
    """Share of all processors of this machine, whoever used them."""
    seconds: float
    account: Account


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """At everything, at one moment."""

    at: float
    shards: list["ShardObservation"]
    trainer: TrainerStats
    trainer_processor_s: float
    units: UnitObservation


def account_of(look: Look) -> Account:
    """Totals since the start."""
    exchanges = [shard.exchange for shard in look.shards]
    return Account(
        units_asked=look.units.asked,
        units_returned=look.units.returned,
        units_returned_again=look.units.returned_again,
        drawn_rows=sum(shard.rows for shard in look.shards),
        sent_rows=sum(exchange.sent_rows for exchange in exchanges),
        dropped_rows=sum(exchange.dropped_rows for exchange in exchanges),
        lost_rows=sum(exchange.lost_rows for exchange in exchanges),
        trained_rows=look.trainer.trained_rows,
        refused_rows=look.trainer.refused_rows,
    )


def measure(
    config: SimulationConfig, before: Look, after: Look, stored: list[float], machine_busy: float, account: Account
) -> Measured:
    """What happened between two looks."""
    seconds, then, now = after.at - before.at, account_of(before), account_of(after)

    def of_shards(count: Callable[["ShardObservation"], float]) -> float:
        return sum(map(count, after.shards)) - sum(map(count, before.shards))

    steps = of_shards(lambda shard: shard.steps)
    drawn, dropped = now.drawn_rows - then.drawn_rows, now.dropped_rows - then.dropped_rows
    letters = of_shards(lambda shard: shard.exchange.messages)
    lags = np.concatenate([shard.lag_steps for shard in after.shards])
    lags_s = np.concatenate([shard.lag_s for shard in after.shards])
    busy_s = after.trainer.busy_seconds - before.trainer.busy_seconds
    calls = (now.units_asked - then.units_asked) + (now.units_returned - then.units_returned)
    return Measured(
        steps_per_s=steps / seconds / config.shards,
        hidden_bytes_per_s=of_shards(lambda shard: shard.exchange.sent_bytes) / seconds,
        trained_rows_per_s=(now.trained_rows - then.trained_rows) / seconds,
        dropped_share=dropped / drawn,
        steps_per_letter=(now.sent_rows - then.sent_rows) / letters / config.inputs.rows / config.inputs.part,
        trainer_busy=busy_s / seconds / config.trainers,
        trainer_processor=(after.trainer_processor_s - before.trainer_processor_s) / seconds / config.trainers,
        publications_per_s=(after.trainer.publications - before.trainer.publications) / seconds,
        publication_bytes_per_s=(after.trainer.published_bytes - before.trainer.published_bytes) / seconds,
        lag_mean=float(lags.mean()),
        lag_median=float(np.median(lags)),
        lag_95=float(np.percentile(lags, 95)),
        lag_s_median=float(np.median(lags_s)),
        lag_s_95=float(np.percentile(lags_s, 95)),
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
