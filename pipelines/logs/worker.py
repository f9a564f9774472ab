"""Logging in the processes that Ray starts for a job: warnings to the collector, and with --log-format json every line as JSON.

`ray.init` is given `worker_runtime_env`; each worker then calls `set_up` before it runs anything.
"""

import json
import logging
import os
import sys
from typing import Any

import ray

from pipelines.logs.lines import PROCESS_LOG, JsonFormatter
from pipelines.logs.sender import WarningSender

VARIABLE = "ESAMP_WORKER_LOG"
"""Environment variable of the workers: the format, and the run's id."""
STAGE = "stage"
"""Source of what Ray Data's workers log that have no name."""


def worker_runtime_env(run_ids: list[str]) -> dict[str, Any]:
    """For `ray.init`. `run_ids`: of the runs that the job makes, one after the other."""
    settings = {"format": PROCESS_LOG.format, "run": ",".join(run_ids)}
    return {"worker_process_setup_hook": f"{__name__}.set_up", "env_vars": {VARIABLE: json.dumps(settings)}}


def set_up() -> None:
    """In a worker, once."""
    settings = json.loads(os.environ[VARIABLE])
    if settings["format"] == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter(source_of_worker, settings["run"]))
        logging.root.addHandler(handler)
    WarningSender(source_of_worker)


def source_of_worker() -> str:
    """The actor's name without what makes it unique (actors/names.py). Asked for with each record: when the process is set up, Ray has not
    named it."""
    name = ray.get_runtime_context().get_actor_name()
    return name.rpartition("-")[0] if name else STAGE
