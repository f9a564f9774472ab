"""The dashboard and the alert rules ask for metrics that the schema exports, and for no others; a real Prometheus answers each query."""

import io
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pytest
import ray
import yaml
from rich.console import Console

from actors.config import EngineConfig, SamplingConfig
from esamp.config import ESampConfig
from pipelines.config.run import RunConfig
from pipelines.metrics.sample_metrics import SampleMetrics, labels_of
from pipelines.metrics.schema import (
    PREFIX,
    SAMPLE_COUNTERS,
    SAMPLE_HISTOGRAMS,
    SHARD_COUNTERS,
    all_metrics,
    exported_names,
    last_finite,
)
from pipelines.metrics.shard_counters import ShardCounterMetrics
from pipelines.passk import run_passk
from pipelines.runs.counters import counters_of
from pipelines.runs.folder import RunFolder
from pipelines.runs.schema import STORED_SCHEMA
from pipelines.stages.shard_fleet import NoShards
from tests.pipelines.stored_rows import row

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "dashboards"
METRIC = re.compile(rf"{PREFIX}esamp_\w+")
ROW: dict[str, Any] = {
    "run_id": "r1", "sampler": "esamp", "shard": "shard-0", "status": "correct", "num_tokens": 12, "intervened_tokens": 11,
    "flipped_tokens": 3, "verdict_ms": 4.0, "generation_seconds": 2.0, "novelty_mean": 0.8, "loss": [1.0, 0.5, float("nan")],
    "lag_mean": 2.0,
}  # fmt: skip
FAILED = ROW | {
    "shard": None, "status": "error", "num_tokens": None, "intervened_tokens": None, "flipped_tokens": None,
    "generation_seconds": None, "novelty_mean": None, "loss": None, "lag_mean": None,
}  # fmt: skip


def dashboard_queries() -> list[str]:
    dashboard = json.loads((FOLDER / "esamp.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_every_query_names_metrics_that_are_exported() -> None:
    """vLLM's own metrics are seen in the test below."""
    for query in [*dashboard_queries(), *alert_queries()]:
        names = set(METRIC.findall(query))
        assert ("ray_vllm_" in query or names) and names <= exported_names(), query


def test_the_dashboard_shows_every_metric_or_its_parts() -> None:
    shown = {name for query in dashboard_queries() for name in METRIC.findall(query)}
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    told = {PREFIX + metric.name for metric in all_metrics()}
    # Totals that a panel shows as rates or by shard, or that another page of the report has.
    left_out = {"problems_finished", "tokens", "kv_cache_share", "shard_requests_running", "shard_requests_waiting"}
    assert told - bare == {f"{PREFIX}esamp_{name}" for name in left_out}


def test_every_metric_has_a_sentence_and_a_value_of_a_sample_that_was_never_generated() -> None:
    assert all(metric.help.endswith(".") for metric in all_metrics())
    assert len(exported_names()) == len(all_metrics()) + 2 * len(SAMPLE_HISTOGRAMS), "no name twice"
    assert all(counter.name.endswith("_total") for counter in SAMPLE_COUNTERS)
    assert [counter.value(FAILED) for counter in SAMPLE_COUNTERS] == [1, 0, 0, 0]
    assert [histogram.value(FAILED) for histogram in SAMPLE_HISTOGRAMS] == [0.004, None, None, None, None]
    assert [histogram.value(ROW) for histogram in SAMPLE_HISTOGRAMS] == [0.004, 2.0, 0.8, 0.5, 2.0]
    assert last_finite([]) is None
    assert labels_of(SAMPLE_COUNTERS[0], FAILED) == {"run": "r1", "sampler": "esamp", "shard": "", "status": "error"}


def test_every_counter_of_a_shard_in_the_summary_is_a_metric() -> None:
    counted = {name for name, counter in counters_of() if counter.shards and not counter.trainer}
    assert {f"esamp_shard_{name}" for name in counted} < {counter.name for counter in SHARD_COUNTERS}
    counts = dict.fromkeys(("trained_rows", "dropped_rows", "lost_rows"), 1) | {"broken_slots": 2, "stale_rows": 3}
    values = {counter.name.removeprefix("esamp_shard_"): counter.value(counts) for counter in SHARD_COUNTERS}
    assert (values["lost_rows"], values["diverged_slots"], values["stale_rows"]) == (1, 2, 3)


class Told:
    """Stands in for ray.util.metrics.Gauge."""

    values: ClassVar[dict[tuple[str, str], float]] = {}

    def __init__(self, name: str, help: str, labels: tuple[str, ...]) -> None:
        self.name = name

    def set(self, value: float, *, tags: dict[str, str]) -> None:
        self.values[self.name, tags["shard"]] = value


def test_what_a_lost_shard_counted_stays_and_its_successor_adds_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.metrics.shard_counters.Gauge", Told)
    metrics = ShardCounterMetrics(NoShards(), run="r1", sampler="esamp")
    none = {"trained_rows": 0, "dropped_rows": 0, "lost_rows": 0}
    for shard, trained in (("shard-0", 5), ("shard-0", 9), ("shard-1", 4), ("shard-0", 2)):
        metrics.add({"shard": shard, **none, "trained_rows": trained, "broken_slots": 0})
    assert Told.values["esamp_shard_trained_rows", "shard-0"] == 9 + 2
    assert Told.values["esamp_shard_trained_rows", "shard-1"] == 4
    assert Told.values["esamp_shard_diverged_slots", "shard-0"] == 0, "a metric before anything goes wrong"


def test_a_sample_counts_as_saved_once_its_verdict_is() -> None:
    """It is saved without its verdict first."""
    saved: list[dict[str, str]] = []
    metrics = SampleMetrics()
    metrics._saved = SimpleNamespace(inc=lambda amount, tags: saved.append(tags))
    rows = [row(0, 0, status=None), row(0, 1, status="correct")]
    metrics.add_saved([pa.Table.from_pylist([one], schema=STORED_SCHEMA) for one in rows])
    assert [tags["sampler"] for tags in saved] == [rows[1]["sampler"]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Prometheus:
    """A real one that scrapes a node of Ray every second."""

    def __init__(self, folder: Path, *, exporter: int) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not there (apt-get install prometheus)")
        self.port = free_port()
        shutil.copy(FOLDER / "alerts.yaml", folder / "alerts.yaml")
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        arguments = [
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._process = subprocess.Popen([program, *arguments], stderr=subprocess.DEVNULL)

    def get(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def ask(self, query: str) -> list[Any]:
        result: list[Any] = self.get("query", query=query)["result"]
        return result

    def unanswered(self, queries: Iterable[str]) -> set[str]:
        """Queries without a single series."""
        try:
            return {query for query in queries if not self.ask(query)}
        except OSError:
            return set(queries)  # it is starting

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def queries_of_a_run() -> set[str]:
    """All that a run without a failure answers: every metric of the schema by its name, and every query of the dashboard."""
    return exported_names() | {query.replace("$run", ".*") for query in dashboard_queries()}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.engine
def test_a_prometheus_scrapes_a_run_and_answers_every_query(tmp_path: Path) -> None:
    """The embedded model with a trainer actor: what is asked is asked until it is answered, since actors end with their session."""
    exporter = free_port()
    prometheus = Prometheus(tmp_path, exporter=exporter)
    ray.init(
        address="local", num_cpus=4, include_dashboard=False, object_store_memory=256 * 2**20, log_to_driver=False,
        _metrics_export_port=exporter, _system_config={"metrics_report_interval_ms": 1000},
    )  # fmt: skip
    missing, is_over = queries_of_a_run(), threading.Event()

    def poll() -> None:
        nonlocal missing
        while missing and not is_over.wait(1):
            missing = prometheus.unanswered(missing)

    watcher = threading.Thread(target=poll)
    watcher.start()
    try:
        summary = run_passk(
            RunConfig(
                output=tmp_path / "run", limit=160, samples=16, sampler="esamp", esamp=ESampConfig(trainer="actor"),
                sampling=SamplingConfig(max_tokens=48), save_every=1,
                engine=EngineConfig(enforce_eager=True, kv_cache_gib=0.1, max_num_seqs=32),
            ),
            console=Console(file=io.StringIO()),
        )  # fmt: skip
        is_over.set()
        watcher.join()
        assert missing == set()
        [finished] = prometheus.ask("ray_esamp_samples_finished")
        run_id = RunFolder(tmp_path / "run").manifest().run_id
        assert (finished["metric"]["run"], finished["metric"]["sampler"]) == (run_id, "esamp")
        assert int(finished["value"][1]) == 160 * 16 and summary.problems == 160
        engines = prometheus.get("label/engine/values")
        assert "shard-0" in engines, "vLLM's own metrics say whose they are"
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        assert len(rules) == len(alert_queries()) and {rule["health"] for rule in rules} == {"ok"}
        learned = int(prometheus.ask("ray_esamp_shard_trained_rows")[0]["value"][1])
        [shard] = RunFolder(tmp_path / "run").sessions()[0].shards
        assert 0 < learned <= shard["trained_rows"]
    finally:
        is_over.set()
        prometheus.stop()
        ray.shutdown()
