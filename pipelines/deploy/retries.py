"""Retries of a job that cannot succeed: KubeRay repeats whatever failed, with a new cluster of GPUs, also what bad input will fail again.

The first attempt leaves a marker in the run folder; the next one reads it and ends in a second, before torch and Ray are imported.
Only attempts of the same rendered manifest know each other, by an environment variable: on other machines nothing is written.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import ClusterInputError, InputError

RETRY_ID = "ESAMP_RETRY_ID"
"""Environment variable: the same for all attempts of one job, another one once its manifest is rendered with other settings."""
MARKER = ".bad_input.json"
"""In the run folder; a name with a dot, since a folder with other names and no run is refused."""


@contextmanager
def bad_input_ends_retries(run_folder: str | None, arguments: list[str]) -> Iterator[None]:
    """Run an attempt in the `with` block. Bad input leaves a marker; an attempt that finds it raises InputError at once.

    `run_folder`: path or URL, None if the command line names none. What another cluster could do (ClusterInputError) leaves none.
    """
    retry_id = os.environ.get(RETRY_ID)
    if retry_id is None or run_folder is None:
        yield
        return
    # Imported late: fsspec takes a moment that a command outside Kubernetes need not wait for.
    from pipelines.runs.storage import storage_at

    storage, attempt = storage_at(run_folder), {"retry_id": retry_id, "arguments": arguments}
    storage.check_reachable()
    if storage.is_file(MARKER):
        marker = json.loads(storage.read(MARKER))
        reason = marker.pop("error")
        if marker == attempt:
            raise InputError(
                f"an attempt before this one was refused: {reason} If the cause is gone, remove {storage.url(MARKER)} and try again."
            )
        storage.remove(MARKER)
    try:
        yield
    except ClusterInputError:
        raise
    except InputError as error:
        storage.make_folder()
        storage.write(MARKER, json.dumps({**attempt, "error": str(error)}).encode())
        raise
