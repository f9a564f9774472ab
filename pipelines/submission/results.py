"""Summary and report of a run whose folder cannot be reached from here: a second, small job reads them on the cluster, and its log brings
them. Ray's job server hands out logs and no files, so they cross as text.
"""

import base64
import io
import re
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.errors import RunError
from pipelines.logs.collector import LOGS
from pipelines.runs.folder import FAILURE, SUMMARY
from pipelines.runs.storage import Storage, storage_at
from pipelines.submission.cluster import one_line_cluster_errors
from pipelines.submission.job import JobClient, RunJob, runtime_env, send

FILES, FOLDERS = (SUMMARY, FAILURE), ("report", LOGS)
"""What is brought of a run folder, where it is there."""
BEGIN, END = "-----BEGIN RESULTS-----", "-----END RESULTS-----"
BETWEEN = re.compile(f"{BEGIN}(.*?){END}", re.DOTALL)
POLL_S = 1.0


def fetch_results(
    client: JobClient, job: RunJob, to: Path, *, working_dir: Path | None, environment: Mapping[str, str]
) -> list[str]:
    """Write the run's results into a folder of this machine; their names. Raises RunError if the second job fails.

    `working_dir`, `environment`: as of the run's job. The folder is sent again: Ray forgets what no job uses any more.
    """
    program = f"from pipelines.submission.results import print_results; print_results({job.output!r})"
    fetching = f"{job.submission_id}-results-{int(time.time())}"
    send(
        client,
        entrypoint=["python", "-c", program],
        runtime_env=runtime_env(working_dir, environment),
        metadata=None,
        submission_id=fetching,
    )
    with one_line_cluster_errors():
        while not client.get_job_info(fetching).status.is_terminal():
            time.sleep(POLL_S)
        found = BETWEEN.search(client.get_job_logs(fetching))
    if found is None:
        raise RunError(f"the results of {job.output} did not come: see the log of the job {fetching}.")
    return unpack(found[1], to)


def print_results(output: str) -> None:
    """Print the results of a run folder as text; in the second job."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in results_in(storage_at(output)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    # Lines, since a log is handed out in pieces of some.
    print(BEGIN, base64.encodebytes(archive.getvalue()).decode(), END, sep="\n")


def results_in(storage: Storage) -> Iterator[tuple[str, bytes]]:
    """Names and contents."""
    names = [name for name in FILES if storage.is_file(name)]
    for name in [*names, *(name for folder in FOLDERS for name in storage.names(folder))]:
        if storage.is_file(name):
            yield name, storage.read(name)


def unpack(text: str, to: Path) -> list[str]:
    """Write what `print_results` printed into a folder; the names."""
    archive = io.BytesIO(base64.b64decode(text))
    to.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        tar.extractall(to, filter="data")  # no name that leaves the folder
        return tar.getnames()
