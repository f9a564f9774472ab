"""A sample that timed out on a busy machine is tried once more alone; one that used its time is not."""

import threading
import time

import pytest

from pipelines.sandbox import sandbox as sandbox_module
from pipelines.sandbox.backends import Unsafe
from pipelines.sandbox.job import HONEST, JobResult, JobStatus, ScriptJob, TestJob
from pipelines.sandbox.limits import Limits
from pipelines.sandbox.sandbox import Sandbox
from pipelines.sandbox.turns import alone, together


def test_one_that_is_alone_waits_for_all_and_all_wait_for_it() -> None:
    events: list[str] = []
    inside = threading.Event()

    def other() -> None:
        with together():
            inside.set()
            time.sleep(0.2)
            events.append("other ends")

    def late() -> None:
        with together():
            events.append("late runs")

    first = threading.Thread(target=other)
    first.start()
    inside.wait()
    with alone():
        events.append("alone")
        second = threading.Thread(target=late)
        second.start()
        time.sleep(0.2)
        events.append("alone ends")
    first.join()
    second.join()
    assert events == ["other ends", "alone", "alone ends", "late runs"]


@pytest.mark.parametrize(("busy_share", "tries"), [(0.2, 2), (0.99, 1)])
def test_a_starved_sample_is_tried_again_and_a_busy_one_is_not(
    monkeypatch: pytest.MonkeyPatch, busy_share: float, tries: int
) -> None:
    tried: list[TestJob] = []

    def run(self: Sandbox, job: TestJob) -> JobResult:
        tried.append(job)
        return JobResult(JobStatus.TIMEOUT if len(tried) == 1 else JobStatus.PASSED, "", busy_share)

    monkeypatch.setattr(sandbox_module.Sandbox, "_run", run)
    status = Sandbox(Unsafe(), Limits()).run(HONEST).status
    assert len(tried) == tries
    assert status is (JobStatus.PASSED if tries == 2 else JobStatus.TIMEOUT)


def test_a_grader_tells_how_much_of_its_time_a_sample_computed() -> None:
    sandbox = Sandbox(Unsafe(), Limits(timeout_s=0.5))
    sleeping = sandbox._run(ScriptJob(program="import time\ntime.sleep(9)", test=""))
    assert sleeping.status is JobStatus.TIMEOUT
    assert sleeping.busy_share < 0.5
    sandbox.close()
