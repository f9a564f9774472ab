"""Memory of a run's driver against the size of its plan, with stand-in shards: the table of docs/runs.md.

python -m tests.pipelines.runs.driver_memory 10000 100000 1000000

For each number of planned units (4 samples each, 16 units to a problem) three processes, so that each has a peak of its own:

    plan      checks the run, writes plan and answers
    fill      writes the samples of all units but the last 2048, in parts of 4096 (not measured)
    session   the same command again: finds what is finished, draws, scores and saves the 2048 units over Ray Data, summarises
"""

import io
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from rich.console import Console

from pipelines.config.run import RunConfig
from pipelines.passk import run_passk
from pipelines.prepare.run import prepare_run
from pipelines.runs.folder import RunFolder
from pipelines.runs.schema import STORED_SCHEMA
from tests.pipelines.stand_in import StandInFleet
from tests.pipelines.stored_rows import ROW

UNITS_PER_PROBLEM = 16
SAMPLES_PER_UNIT = 4
LEFT = 2048
WORK_UNITS_PER_FILE = 1024


def run_config(folder: Path) -> RunConfig:
    return RunConfig(
        dataset=str(folder / "problems.jsonl"),
        output=folder / "run",
        verifier="exact",
        sampler="vanilla",
        samples=UNITS_PER_PROBLEM * SAMPLES_PER_UNIT,
        samples_per_work_unit=SAMPLES_PER_UNIT,
    )


def plan(folder: Path) -> dict[str, float]:
    started = time.monotonic()
    run = prepare_run(run_config(folder))
    run.folder.open(run.manifest, run.plan)
    return {"plan_s": time.monotonic() - started}


def fill(folder: Path) -> dict[str, float]:
    run = RunFolder(folder / "run")
    to_fill = run.manifest().num_units - LEFT
    with run.storage.open("plan/plan.parquet") as file, pa.parquet.ParquetFile(file) as stored:
        for number, batch in enumerate(stored.iter_batches(WORK_UNITS_PER_FILE)):
            units = batch.slice(0, max(0, to_fill - number * WORK_UNITS_PER_FILE))
            if units.num_rows:
                with run.storage.atomic_file(f"samples/{number:06}.parquet") as sink:
                    pa.parquet.write_table(sample_rows(units), sink, compression="zstd")
    return {}


def sample_rows(units: pa.RecordBatch) -> pa.Table:
    """Samples of units: all alike but for their keys, and for 64 tokens each."""
    unit_of = pc.list_parent_indices(units["sample_indices"])
    own = {
        "unit_id": units["unit_id"].take(unit_of),
        "problem_id": units["problem_id"].take(unit_of),
        "sample_index": units["sample_indices"].flatten(),
        "seed": units["seeds"].flatten(),
    }
    like = {name: value * 32 if isinstance(value, list) else value for name, value in ROW.items()}
    alike = pa.Table.from_pylist([like], schema=STORED_SCHEMA).take(pa.array([0] * len(unit_of)))
    columns = [own.get(field.name, alike[field.name]) for field in STORED_SCHEMA]
    return pa.table(columns, schema=STORED_SCHEMA)


def session(folder: Path) -> dict[str, float]:
    started = time.monotonic()
    run = prepare_run(run_config(folder))
    count = run.count_work_units()
    assert count.unfinished == min(LEFT, count.planned), count
    found = time.monotonic()
    summary = run_passk(run.config, console=Console(file=io.StringIO()), start_fleet=StandInFleet)
    assert summary.problems == run.manifest.num_problems
    return {"find_s": found - started, "session_s": time.monotonic() - found}


def in_a_process_of_its_own(stage: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.pipelines.runs.driver_memory", stage, str(folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    numbers: dict[str, float] = json.loads(told.splitlines()[-1])
    return numbers


def measure(units: int) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "problems.jsonl").open("w") as file:
            for i in range(units // UNITS_PER_PROBLEM):
                file.write(json.dumps({"id": f"problem-{i}", "problem": f"{'words ' * 40}say {i}", "answer": i}) + "\n")
        planned = in_a_process_of_its_own("plan", folder)
        in_a_process_of_its_own("fill", folder)
        drawn = in_a_process_of_its_own("session", folder)
    return {"units": units, "plan_mib": planned.pop("mib"), "session_mib": drawn.pop("mib"), **planned, **drawn}


if __name__ == "__main__":
    stages = {"plan": plan, "fill": fill, "session": session}
    if sys.argv[1] in stages:
        numbers = stages[sys.argv[1]](Path(sys.argv[2]))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**numbers, "mib": peak_mib}))
    else:
        for size in sys.argv[1:]:
            print(json.dumps(measure(int(size))), flush=True)
