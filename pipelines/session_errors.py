"""The error boundary of a session: what Ray, an engine or the disk raise becomes one line."""

import errno
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ray.data.exceptions import SystemException
from ray.exceptions import RayError

from actors.errors import EngineStartError, TrainerStartError
from pipelines.errors import ClusterInputError, RunError, root_cause
from pipelines.live.log import LiveSamples
from pipelines.live.position import places_of
from pipelines.prepare.run import PreparedRun
from pipelines.runs.folder import FAILURE

logger = logging.getLogger(__name__)


@contextmanager
def failures_in_one_line(run: PreparedRun) -> Iterator[None]:
    """The error boundary of a session: what Ray, an engine or the disk raise becomes one line. What was finished stays."""
    try:
        yield
    except EngineStartError as error:
        raise ClusterInputError(f"no engine for model {run.config.model}: {error}") from error
    except TrainerStartError as error:
        raise ClusterInputError(f"a DistillerTrainer did not start: {error}") from error
    except KeyboardInterrupt as stop:
        raise type(stop)(f"stopped. {finished_line(run)}") from None
    except (RayError, SystemException, OSError) as error:
        if is_disk_full(error):
            raise RunError(f"the disk of {run.folder.path} is full. Free some space. {finished_line(run)}") from error
        raise RunError(f"{root_cause(error)} {kept_traceback(run, traceback.format_exc())}") from error


def kept_traceback(run: PreparedRun, text: str) -> str:
    """Write what ended a session to its run folder, and say what that has."""
    try:
        if run.folder.has_run:
            run.folder.storage.write(FAILURE, text.encode())
        return f"(in full: {run.folder.path}/{FAILURE}). {finished_line(run)}"
    except OSError as error:
        # The folder may be what failed. What it had is safe, and can be counted once it answers.
        logger.error("%s", text)
        return f"{run.folder.path} cannot be asked what is saved: {error} The same command goes on from there."


def finished_line(run: PreparedRun) -> str:
    """What a stopped run has, and how it goes on."""
    count = run.count_work_units()
    samples = samples_of_unfinished_units(run) if run.folder.has_run else 0
    others = f", and {samples} samples of others" if samples else ""
    return f"{count.finished} of {count.planned} work units are saved in {run.folder.path}{others}; the same command goes on from there."


def samples_of_unfinished_units(run: PreparedRun) -> int:
    """Samples in live/ that no output file holds, with a verdict or without."""
    saved_PN = places_of(LiveSamples(run.folder.storage).keys(), run.folder)
    return int((saved_PN & ~run.folder.sample_index().answered_PN).sum())


def is_disk_full(error: BaseException) -> bool:
    """True if "no space left on device" is at the bottom of an error, which may come through Ray."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno == errno.ENOSPC:
            return True
        chain = chain.__cause__ or chain.__context__
    return f"[Errno {errno.ENOSPC}]" in str(error) or "No space left on device" in str(error)
