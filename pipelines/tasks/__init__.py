"""The tasks that ship with the project. Every module here defines one as TASK; adding a file is all it takes."""

import importlib
import pkgutil
from functools import cache

from pipelines.errors import InputError
from pipelines.task import Task


@cache
def all_tasks() -> dict[str, Task]:
    """Every task by name, in alphabetical order. Raises RuntimeError if a module defines none or a name is taken twice."""
    tasks: dict[str, Task] = {}
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        task = vars(importlib.import_module(module.name)).get("TASK")
        if not isinstance(task, Task):
            raise RuntimeError(f"module {module.name} must define TASK, a pipelines.task.Task; it has {task!r}.")
        if task.name in tasks:
            raise RuntimeError(f"module {module.name} defines task {task.name!r}, which another module has taken.")
        tasks[task.name] = task
    return dict(sorted(tasks.items()))


def find_task(name: str) -> Task:
    """The task of this name. Raises InputError with the names there are."""
    tasks = all_tasks()
    if name not in tasks:
        raise InputError(f"there is no task {name!r}; known are {', '.join(tasks)}. See python -m jobs.tasks.")
    return tasks[name]
