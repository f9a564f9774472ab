"""The tasks that ship with the project. Every module here defines one as TASK; adding a file is all it takes.

A task in a module of one's own is named by its path, module:TASK.
"""

import importlib
import pkgutil
from functools import cache

from pipelines.errors import InputError
from pipelines.problems.task import Task


@cache
def all_tasks() -> dict[str, Task]:
    """Every task by name, in alphabetical order. Raises RuntimeError if a module defines none or a name is taken twice."""
    tasks: dict[str, Task] = {}
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        task = vars(importlib.import_module(module.name)).get("TASK")
        if not isinstance(task, Task):
            raise RuntimeError(
                f"module {module.name} must define TASK, a pipelines.problems.task.Task; it has {task!r}."
            )
        if task.name in tasks:
            raise RuntimeError(f"module {module.name} defines task {task.name!r}, which another module has taken.")
        tasks[task.name] = task
    return dict(sorted(tasks.items()))


def find_task(name: str) -> Task:
    """The task of this name, or of the path module:attribute. Raises InputError if there is none."""
    if ":" in name:
        return imported_task(name)
    tasks = all_tasks()
    if name not in tasks:
        raise InputError(f"there is no task {name!r}; known are {', '.join(tasks)}. See python -m jobs.tasks.")
    return tasks[name]


def imported_task(path: str) -> Task:
    """The task that "module:attribute" names."""
    module_name, _, attribute = path.partition(":")
    try:
        task = vars(importlib.import_module(module_name)).get(attribute)
    except ImportError as error:
        raise InputError(
            f"task {path}: module {module_name} cannot be imported ({error}); put it where Python finds it."
        ) from error
    if not isinstance(task, Task):
        raise InputError(f"task {path}: module {module_name} has no Task named {attribute!r}; it has {task!r}.")
    return task
