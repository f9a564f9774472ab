"""Tables for documents."""

from rich.table import Table


def markdown_table(table: Table, *, without: str | None = None) -> str:
    """A rich table of plain cells as Markdown; `without` names a column to leave out."""
    columns = [column for column in table.columns if column.header != without]
    header = [" ".join(str(column.header).split()) for column in columns]
    rule = ["---:" if column.justify == "right" else "---" for column in columns]
    rows = zip(*(map(str, column.cells) for column in columns), strict=True)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))
