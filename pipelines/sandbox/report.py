"""The self-test and the soak, for a terminal."""

from rich.table import Table

from pipelines.sandbox.attacks import ATTACKS
from pipelines.sandbox.backends import IsolationBackend
from pipelines.sandbox.choice import BACKENDS
from pipelines.sandbox.self_test import SelfTest, run_self_test
from pipelines.sandbox.soak import SoakResult


def backend_table() -> Table:
    """Every backend tried on this machine: a row per attack, a column per backend."""
    table = Table("attack", *(backend.name for backend in BACKENDS), title="what each backend stops on this machine")
    columns = [column(backend) for backend in BACKENDS]
    for row in zip(("an honest program", *(attack.name for attack in ATTACKS)), *columns, strict=True):
        table.add_row(*row)
    return table


def column(backend: type[IsolationBackend]) -> list[str]:
    """What happened in one backend, a cell per row of the table."""
    try:
        self_test = run_self_test(backend())
    except FileNotFoundError as error:
        return [str(error)] + ["not tried"] * len(ATTACKS)
    return [honest_cell(self_test), *attack_cells(self_test)]


def honest_cell(self_test: SelfTest) -> str:
    """How the honest program fared."""
    return " ".join(filter(None, (self_test.honest.status.value, self_test.honest.detail)))


def attack_cells(self_test: SelfTest) -> list[str]:
    """How the attacks fared; not tried where the honest program already failed."""
    if not self_test.attacks:
        return ["not tried"] * len(ATTACKS)
    return [
        f"{'stopped' if result.is_stopped else '[red]GOT THROUGH[/red]'}: {result.outcome}"
        for result in self_test.attacks
    ]


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
