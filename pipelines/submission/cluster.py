"""The cluster that a job is sent to: Ray's job server on the head, with its errors in one line."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from pipelines.errors import InputError, RunError

PORT = 8265
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
"""Loggers of Ray that tell of each upload and connection, at a level of their own."""
NO_AGENT_HINT = (
    " The agent of the head's node starts the jobs, and does not answer: right after `ray start`, wait some seconds. Else "
    "/tmp/ray/session_latest/logs/dashboard_agent.log on the head says why; if another Ray there holds its port, start the head with "
    "--dashboard-agent-listen-port."
)
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def connect(address: str | None) -> JobSubmissionClient:
    """The job server at an address such as http://head:8265. None: the one that RAY_API_SERVER_ADDRESS or RAY_ADDRESS names, else this
    machine's. Raises InputError if none answers there, or refuses us."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    if address is not None:
        for variable in ADDRESS_VARIABLES:
            os.environ.pop(variable, None)  # they would win over what was typed
    named = next((os.environ[name] for name in ADDRESS_VARIABLES if name in os.environ), None)
    place = address or named or f"http://127.0.0.1:{PORT}"
    try:
        with one_line_cluster_errors():
            return JobSubmissionClient(place)
    except RunError as error:
        raise InputError(
            f"no Ray cluster takes jobs at {place}: {error} Give the address of the head's dashboard: --address http://HEAD:{PORT}"
        ) from error


@contextmanager
def one_line_cluster_errors() -> Iterator[None]:
    """Turn what Ray's job server and the way to it raise into InputError (a token that it does not take) and RunError."""
    try:
        yield
    except AuthenticationError as error:
        raise InputError(
            "the cluster did not accept this machine's token. Set RAY_AUTH_MODE=token, and put the cluster's token into ~/.ray/auth_token, "
            "or into a file that RAY_AUTH_TOKEN_PATH names."
        ) from error
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        hint = NO_AGENT_HINT if "No available agent" in reason else ""
        raise RunError(f"Ray's job server: {reason}{hint}") from error
