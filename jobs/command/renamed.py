"""Commands and options under names that they had before: refused in one line that names the new ones."""

from jobs.command.exit_codes import end


def refuse_command(old: str, *new: str) -> None:
    """End with exit code 2. `old` and `new`: modules."""
    commands = " or ".join(f"python -m {name}" for name in new)
    end(f"error: {old} was split by question: use {commands} (each has --help).", 2)


def refuse_options(args: list[str], renamed: dict[str, str]) -> None:
    """End with exit code 2 if the command line has an option of an old name; `renamed`: new names by old ones, with their dashes."""
    for arg in args:
        name = arg.partition("=")[0]
        if name in renamed:
            end(f"error: the option {name} is named {renamed[name]} now.", 2)
