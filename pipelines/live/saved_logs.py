"""Which logs of live/ are no longer needed: those whose samples have all reached the output files.

Legend: P problems in the plan's order, N samples of each in launch order, R rows of a file.
"""

from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.live.background_thread import BackgroundThread
from pipelines.live.log import LiveSamples, log_keys
from pipelines.runs.finished_sample import FinishedSample
from pipelines.runs.folder import RunFolder
from pipelines.runs.sample_index import find_samples

REMOVAL_INTERVAL_S = 60.0
"""Between two looks while a session works: live/ holds what is under way, and what was finished about this long ago."""


class SavedLogs:
    """Removes them, at the start of a session and while its `with` block runs. Looks into each file once, and keeps a byte for each planned
    sample."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = RunFolder(folder.path)  # of its own: it is used in another thread
        self._problem_ids = folder.problem_ids()
        self._num_samples = folder.manifest().config.samples
        index = folder.sample_index()
        self._answered_PN: npt.NDArray[np.bool_] = index.answered_PN.copy()
        self._seen = set(index.files)
        self._logs: dict[str, npt.NDArray[np.int64]] = {}
        self._thread = BackgroundThread(self._run, name="saved-logs")

    def __enter__(self) -> "SavedLogs":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.end()
        self.remove()

    def remove(self) -> None:
        """Remove the logs each of whose samples has an answer in an output file."""
        new = [name for name in self._folder.files() if name not in self._seen]
        if new:  # else a large run's grid would be filled every minute for nothing
            self._answered_PN |= find_samples(
                self._folder.storage, new, self._problem_ids, self._num_samples
            ).answered_PN
            self._seen |= set(new)
        storage = self._folder.storage
        self._logs |= {name: self._places(table) for name, table in log_keys(storage, but=self._logs.keys())}
        for name in [name for name, place_R in self._logs.items() if self._answered_PN.ravel()[place_R].all()]:
            storage.remove(name)
            del self._logs[name]

    def unsaved(self, live: LiveSamples) -> list[FinishedSample]:
        """Samples of logs that have their verdict, and no answer in an output file when `remove` looked last."""
        finished = live.finished()
        place_R = self._place_of(
            pa.array([sample.problem_id for sample in finished], pa.string()),
            np.array([sample.sample_index for sample in finished], dtype=np.int64),
        )
        is_saved_R = self._answered_PN.ravel()[place_R]
        return [sample for sample, is_saved in zip(finished, is_saved_R.tolist(), strict=True) if not is_saved]

    def _places(self, table: pa.Table) -> npt.NDArray[np.int64]:
        return self._place_of(table["problem_id"], table["sample_index"].to_numpy())

    def _place_of(self, problem_ids: pa.Array, index_R: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[R] place in the flattened grid."""
        problem_R: npt.NDArray[np.int64] = pc.index_in(problem_ids, value_set=self._problem_ids).to_numpy()
        return problem_R.astype(np.int64) * self._num_samples + index_R

    def _run(self) -> None:
        while not self._thread.wait(REMOVAL_INTERVAL_S):
            self.remove()
