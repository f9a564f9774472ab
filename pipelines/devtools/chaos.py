"""Chaos: kills processes of one run at random, then compares its samples with the plan.

    chaos (this process) -- starts --> a Ray of three nodes on this machine, and the driver: chaos_run.py
                         -- SIGKILL --> a shard, the trainer, a verifier, a generator, a node with all that runs on it, the driver

A driver that ended is started again with the same command; a node that was killed is replaced. After the last kill the run finishes
undisturbed. Promise: every reported kill was of a live process of this run, and samples are checked against the stored plan and the task's
own verifier, not against the run's own summary. At each kill every sample that a shard had finished SAVED_WITHIN_S before must be on disk,
by the shards' own notes; what is finished later may be lost and is generated again.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet
from ray.cluster_utils import Cluster
from rich.console import Console

from pipelines.devtools.chaos_run import NOTES_VARIABLE, SHARDS
from pipelines.errors import RunError
from pipelines.live.log import LiveSamples
from pipelines.problems.countdown import CountdownProblem, verify_answer
from pipelines.runs.folder import PLAN, RunFolder
from pipelines.runs.plan import stored_work_units

PROCESS_TITLES = {
    "shard": "ray::NotingShard",
    "trainer": "ray::TrainerActor",
    "verifier": "ray::VerifierActor",
    "generator": "ray::MapWorker(MapBatches(GenerateSamples))",
}
"""What Ray calls the worker processes that are killed."""
TARGETS = (*PROCESS_TITLES, "node", "driver")
HEAD_CPUS, NODE_CPUS, NODES = 2, 1, SHARDS
"""Of the driver's node, which is spared, and of the others. Each shard and each stage takes one, so that together they just fit."""
OBJECT_STORE_BYTES = 200 * 2**20
NODE_COMES_BACK_S = 5.0
LOOK_S = 0.5
SAVED_WITHIN_S = 30.0
"""Seconds after its last token within which a sample is on disk."""
DRIVER_STARTS = 60
"""Drivers after which chaos gives up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChaosConfig:
    """What is evaluated, and how it is disturbed."""

    output: Path = Path("runs/chaos")
    """Run folder; must not exist."""
    kills: int = 24
    """Kills, in turn over a shuffled list of the six kinds, so that each kind comes equally often."""
    interval_s: tuple[float, float] = (4.0, 16.0)
    """Between two kills: drawn evenly from this range, once the run has saved its first output file."""
    problems: int = 1000
    """Countdown problems."""
    samples: int = 16
    """Samples of each."""
    seed: int = 0
    """Decides what is killed when; and it is the run's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One process, or one node's, that was killed."""

    target: str
    at_s: float
    """Since chaos began."""
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChaosReport:
    """What happened, and what the samples look like."""

    kills: list[Kill]
    driver_starts: int
    seconds: float
    planned: int
    """Samples of the plan."""
    stored: int
    """Rows that a reader of the run gets."""
    missing: int
    doubled: int
    unsaved: int
    """Samples that were on disk at no kill later than SAVED_WITHIN_S after they had finished."""
    failed: int
    """Rows that hold an error instead of an answer."""
    wrong_seed: int
    wrong_verdict: int
    """Rows whose verdict is not the verifier's on their text."""
    rows_in_files: int
    """Rows in the output files, before a reader takes each sample once."""

    @property
    def is_exact(self) -> bool:
        """True if every planned sample is there once, answered, from its seed, with its verdict."""
        broken = self.missing + self.doubled + self.failed + self.unsaved + self.wrong_seed + self.wrong_verdict
        return broken == 0 and self.stored == self.planned

    def lines(self) -> list[str]:
        """The report, for people."""
        kinds = Counter(kill.target for kill in self.kills)
        return [
            f"{len(self.kills)} kills in {self.seconds:.0f} s: "
            + ", ".join(f"{kinds[t]} x {t}" for t in TARGETS if kinds[t]),
            f"driver starts: {self.driver_starts}",
            f"samples planned {self.planned}, stored {self.stored}, missing {self.missing}, doubled {self.doubled}, failed {self.failed}",
            f"not on disk {SAVED_WITHIN_S:g} s after their end, at a kill: {self.unsaved}",
            f"wrong seeds {self.wrong_seed}, wrong verdicts {self.wrong_verdict}; rows in the output files: {self.rows_in_files}",
            "every sample is there once, with its verdict" if self.is_exact else "NOT EXACT",
        ]


class SavedCheck:
    """Compares, at each kill, what shards have noted with what is on disk."""

    def __init__(self, folder: RunFolder, notes: Path) -> None:
        self._folder = folder
        self._notes = notes
        self._kills: list[float] = []
        self.unsaved: set[tuple[str, int]] = set()

    def at_kill(self) -> None:
        """Something was killed just now."""
        now = time.time()
        due = {key for at, key in self._finished() if at < now - SAVED_WITHIN_S and not self._may_be_lost(at)}
        self._kills.append(now)
        if due:
            # In this order: a log is removed after its samples have reached an output file.
            saved = set(LiveSamples(self._folder.storage).keys())
            saved |= {(row["problem_id"], row["sample_index"]) for row in stored_keys(self._folder)}
            self.unsaved |= due - saved

    def _finished(self) -> list[tuple[float, tuple[str, int]]]:
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        notes = (line.split(" ", 2) for line in lines)
        return [(float(at), (problem_id, int(index))) for at, index, problem_id in notes]

    def _may_be_lost(self, finished: float) -> bool:
        """True if an earlier kill came before the sample had to be on disk."""
        return any(finished <= kill < finished + SAVED_WITHIN_S for kill in self._kills)


def stored_keys(folder: RunFolder) -> list[dict[str, Any]]:
    """problem_id and sample_index of each sample in the output files; a run may have none yet."""
    rows: list[dict[str, Any]] = []
    if folder.has_run and folder.sample_index().num_rows:
        rows = folder.read_samples(["problem_id", "sample_index"]).to_pylist()
    return rows


class ChaosCluster:
    """The Ray that is disturbed, and its driver."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": HEAD_CPUS,
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
            },
        )
        self._command = command
        self._log = log.open("a")
        self._nodes = [self._add_node() for _ in range(NODES)]
        self._absent_since: list[float] = []
        self.driver_starts = 0
        self.driver = self._start_driver()

    def tend(self) -> bool:
        """Replace what is due; True once the driver has come to its good end. Raises RunError if it never does."""
        while self._absent_since and time.monotonic() - self._absent_since[0] > NODE_COMES_BACK_S:
            self._absent_since.pop(0)
            self._nodes.append(self._add_node())
        code = self.driver.poll()
        if code is not None and code != 0:
            if self.driver_starts == DRIVER_STARTS:
                raise RunError(
                    f"the driver was started {DRIVER_STARTS} times and has not finished; its log is {self._log.name}"
                )
            self.driver = self._start_driver()
        return code == 0

    def kill(self, target: str, choose: Callable[[list[int]], int]) -> str | None:
        """Kill one of the target's processes; what it was, or None if there is none now."""
        if target == "node":
            return self._kill_node(choose)
        processes = [self.driver.pid] if target == "driver" else workers_below(os.getpid(), PROCESS_TITLES[target])
        if not processes:
            return None
        process = choose(processes)
        os.kill(process, signal.SIGKILL)
        return f"process {process}"

    def stop(self) -> None:
        """End everything."""
        self.driver.kill()
        self.driver.wait()
        self._cluster.shutdown()
        self._log.close()

    def _kill_node(self, choose: Callable[[list[int]], int]) -> str | None:
        if not self._nodes:
            return None
        node = self._nodes.pop(choose(list(range(len(self._nodes)))))
        raylet = node.all_processes["raylet"][0].process.pid
        held = [kind for kind, title in PROCESS_TITLES.items() for _ in workers_below(raylet, title)]
        self._cluster.remove_node(node, allow_graceful=False)
        self._absent_since.append(time.monotonic())
        return "with " + (", ".join(held) or "nothing")

    def _add_node(self) -> Any:
        return self._cluster.add_node(num_cpus=NODE_CPUS, object_store_memory=OBJECT_STORE_BYTES)

    def _start_driver(self) -> subprocess.Popen:
        self.driver_starts += 1
        environment = {**os.environ, "RAY_ADDRESS": self._cluster.address}
        return subprocess.Popen(self._command, env=environment, stdout=self._log, stderr=subprocess.STDOUT)


def workers_below(process: int, title: str) -> list[int]:
    """Ids of the worker processes with this title among a process's descendants."""
    found = []
    for child in psutil.Process(process).children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith(title):
                found.append(child.pid)
        except psutil.Error:
            continue  # it ended meanwhile
    return found


def run_chaos(config: ChaosConfig, console: Console) -> ChaosReport:
    """Disturb one evaluation until the kills are done, let it finish, and look at what it left. Raises RunError if it never finishes."""
    folder = RunFolder(config.output)
    notes = config.output.with_name(config.output.name + "-notes.txt").absolute()
    notes.unlink(missing_ok=True)
    os.environ[NOTES_VARIABLE] = str(notes)  # the cluster's processes inherit it
    check = SavedCheck(folder, notes)
    cluster = ChaosCluster(driver_command(config), config.output.with_name(config.output.name + "-driver.log"))
    started = time.monotonic()
    try:
        kills = disturb(cluster, config, check, console)
        while not cluster.tend():
            time.sleep(LOOK_S)
    finally:
        cluster.stop()
    return look_at(
        folder,
        kills=kills,
        driver_starts=cluster.driver_starts,
        seconds=time.monotonic() - started,
        unsaved=len(check.unsaved),
    )


def driver_command(config: ChaosConfig) -> list[str]:
    """The evaluation."""
    numbers = map(str, (config.seed, config.problems, config.samples))
    return [sys.executable, "-m", "pipelines.devtools.chaos_run", str(config.output), *numbers]


def disturb(cluster: ChaosCluster, config: ChaosConfig, check: SavedCheck, console: Console) -> list[Kill]:
    """Kill until enough was killed, or the run is through."""
    chance, started = random.Random(config.seed), time.monotonic()
    kills: list[Kill] = []
    waiting: list[str] = []
    while len(kills) < config.kills:
        waiting = waiting or chance.sample(TARGETS, len(TARGETS))
        due = time.monotonic() + chance.uniform(*config.interval_s)
        while time.monotonic() < due or not any(config.output.glob("samples/*.parquet")):
            if cluster.tend():
                return kills
            time.sleep(LOOK_S)
        target = waiting.pop()
        what = cluster.kill(target, chance.choice)
        now = time.monotonic() - started
        if what is None:
            waiting.insert(0, target)
            console.print(f"{now:6.1f} s  no {target} is alive just now", highlight=False)
        else:
            kills.append(Kill(target=target, at_s=now, what=what))
            check.at_kill()
            console.print(f"{now:6.1f} s  kill {len(kills)}: {target}, {what}", highlight=False)
    return kills


def look_at(
    folder: RunFolder, *, kills: list[Kill], driver_starts: int, seconds: float, unsaved: int = 0
) -> ChaosReport:
    """Compare the samples with the stored plan, and each verdict with the verifier's. `unsaved`: see ChaosReport."""
    seeds = {
        (unit.work.problem_id, index): seed
        for unit in stored_work_units(pyarrow.parquet.read_table(Path(folder.path) / PLAN))
        for index, seed in zip(unit.work.sample_indices, unit.work.seeds, strict=True)
    }
    columns = ["problem_id", "sample_index", "seed", "prompt", "text", "status", "error"]
    rows = folder.read_samples(columns).to_pylist()
    found = Counter((row["problem_id"], row["sample_index"]) for row in rows)
    return ChaosReport(
        kills=kills,
        driver_starts=driver_starts,
        seconds=seconds,
        planned=len(seeds),
        stored=len(rows),
        missing=len(seeds.keys() - found.keys()),
        doubled=sum(count - 1 for count in found.values()),
        unsaved=unsaved,
        failed=sum(row["error"] is not None for row in rows),
        wrong_seed=sum(seeds.get((row["problem_id"], row["sample_index"])) != row["seed"] for row in rows),
        wrong_verdict=sum(
            verify_answer(CountdownProblem.from_prompt(row["prompt"]), row["text"]).status != row["status"]
            for row in rows
        ),
        rows_in_files=sum(pyarrow.parquet.read_metadata(Path(folder.path) / part).num_rows for part in folder.files()),
    )
