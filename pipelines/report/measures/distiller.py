"""The Distiller under each condition: losses, interventions, lag, counters, memory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from esamp.distiller.bank import SlotLayout
from pipelines.config.run import RunConfig
from pipelines.errors import InputError
from pipelines.prepare.model_files import is_local, load_model_config
from pipelines.report.number_format import plain
from pipelines.report.run_set import Condition, RunSet
from pipelines.runs.counters import Counter, counters_of
from pipelines.runs.summary import intervened_share, loss_edges, mean_or_none

BYTES_PER_PARAMETER = 4 * 4
"""A slot's weights, gradient and Adam's two moments, fp32."""
UNKNOWN = "not known"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A row: name, and one cell per condition."""

    name: str
    cells: list[str]


def distiller_facts(run_set: RunSet) -> list[Fact]:
    """Rows about the Distiller, of each condition's first run; "-" for conditions without one."""
    conditions = run_set.conditions
    rows: dict[str, Callable[[Condition], str]] = {
        "Distiller loss, first and last tenth of a sample": loss_cell,
        "decode tokens intervened on": lambda condition: (
            f"{intervened_share(condition.runs[0].table, condition.config.policy):.1%}"
        ),
        "lag of the weights, decode steps": lag_cell,
        **{
            name.replace("_", " "): partial(counter_cell, counter)
            for name, counter in counters_of()
            if counter.of == "exploring runs"
        },
        "memory of Distiller slots, computed": lambda condition: memory_cell(condition.config),
    }
    return [
        Fact(name=name, cells=[cell(condition) if condition.config.beta else "\u2013" for condition in conditions])
        for name, cell in rows.items()
    ]


def loss_cell(condition: Condition) -> str:
    """ "1.75, 1.48"."""
    edges = loss_edges([condition.runs[0].table])
    return UNKNOWN if None in edges else ", ".join(plain(loss) for loss in edges if loss is not None)


def lag_cell(condition: Condition) -> str:
    """Mean over samples."""
    mean = mean_or_none(lag for lag in condition.runs[0].table["lag_mean"].to_pylist() if lag is not None)
    return UNKNOWN if mean is None else plain(mean)


def counter_cell(counter: Counter, condition: Condition) -> str:
    """A counter over completed sessions. A restarted shard counts from 0 again, so that its sum is a lower bound."""
    sessions = condition.runs[0].sessions
    if not sessions:
        return UNKNOWN
    total = counter.total(sessions)
    return f"at least {total:,}" if any(session.counters_were_reset for session in sessions) else f"{total:,}"


def memory_cell(config: RunConfig) -> str:
    """Bytes of all slots' weights and moments in one place (shard, or trainer actor); activations come on top.

    Computed from the settings and the model's hidden size, not measured. The model is looked for on this machine only.
    """
    if not is_local(config):
        return UNKNOWN
    try:
        hidden_size: int = load_model_config(config).get_text_config().hidden_size
    except InputError:
        return UNKNOWN
    layout = SlotLayout(hidden_size, config.esamp.inner_width, config.esamp.num_blocks)
    mebibytes = config.esamp.num_slots * layout.num_parameters * BYTES_PER_PARAMETER / 2**20
    return f"{mebibytes:,.1f} MiB for {config.esamp.num_slots} slot(s)"
