"""What was proved, for a terminal."""

from rich.table import Table

from pipelines.sandbox.attacks import ATTACKS
from pipelines.sandbox.choice import LEVELS
from pipelines.sandbox.levels import Level
from pipelines.sandbox.proof import Proof, prove
from pipelines.sandbox.soak import SoakResult


def level_table() -> Table:
    """Every level tried on this machine: a row per attack, a column per level."""
    table = Table("attack", *(level.name for level in LEVELS), title="what each level stops on this machine")
    columns = [column(level) for level in LEVELS]
    for row in zip(("an honest program", *(attack.name for attack in ATTACKS)), *columns, strict=True):
        table.add_row(*row)
    return table


def column(level: type[Level]) -> list[str]:
    """What happened at one level, a cell per row of the table."""
    try:
        proof = prove(level())
    except FileNotFoundError as error:
        return [str(error)] + ["not tried"] * len(ATTACKS)
    return [honest_cell(proof), *trial_cells(proof)]


def honest_cell(proof: Proof) -> str:
    """How the honest program fared."""
    return " ".join(filter(None, (proof.honest.status.value, proof.honest.detail)))


def trial_cells(proof: Proof) -> list[str]:
    """How the attacks fared; not tried where the honest program already failed."""
    if not proof.trials:
        return ["not tried"] * len(ATTACKS)
    return [f"{'stopped' if trial.is_stopped else '[red]GOT THROUGH[/red]'}: {trial.outcome}" for trial in proof.trials]


def soak_lines(result: SoakResult) -> str:
    """A soak in four lines."""
    return "\n".join(
        (
            f"attacks stopped: {result.attacks_stopped} of {result.attacks}",
            f"honest samples judged rightly: {result.honest_right} of {result.honest}",
            f"left behind: {', '.join(result.left_behind) or 'nothing'}",
            f"{(result.attacks + result.honest) / result.seconds:.1f} samples/s over {result.seconds:.0f} s",
        )
    )
