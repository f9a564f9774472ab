"""The dashboard and the alert rules ask for metrics that the schema exports, and for no others; a real Prometheus answers each query."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from pipelines.live.progress_file import RunProgress, ShardProgress
from pipelines.metrics.run_metrics import RunMetrics
from pipelines.metrics.sample_metrics import SampleMetrics, labels_of
from pipelines.metrics.schema import (
    PREFIX,
    RUN_GAUGES,
    SAMPLE_COUNTERS,
    SAMPLE_HISTOGRAMS,
    SHARD_GAUGES,
    exported_names,
    last_finite,
)

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
PROGRESS = RunProgress(
    phase="generating", at=1e9, seconds=1.0, problems_planned=4, samples_planned=8, samples=2, live_shards=1, wanted_shards=2,
    shards=(ShardProgress(shard="shard-0", running=3, waiting=1, kv_cache_share=0.5, preemptions=0, finished=2, tokens_per_s=9.0),),
)  # fmt: skip


def dashboard_queries() -> list[str]:
    dashboard = json.loads((FOLDER / "esamp.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_every_query_names_metrics_that_are_exported() -> None:
    for query in [*dashboard_queries(), *alert_queries()]:
        names = set(METRIC.findall(query))
        assert names and names <= exported_names(), query


def test_the_dashboard_shows_every_metric_or_its_parts() -> None:
    shown = {name for query in dashboard_queries() for name in METRIC.findall(query)}
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    told = {
        PREFIX + metric.name
        for metrics in (RUN_GAUGES, SHARD_GAUGES, SAMPLE_COUNTERS, SAMPLE_HISTOGRAMS)
        for metric in metrics
    }
    # Totals that a panel shows as rates or by shard, or that another page of the report has.
    left_out = {"problems_finished", "tokens", "kv_cache_share", "shard_requests_running", "shard_requests_waiting"}
    assert told - bare == {f"{PREFIX}esamp_{name}" for name in left_out}


def test_every_metric_has_a_sentence_and_a_value_of_a_sample_that_was_never_generated() -> None:
    assert all(
        metric.help.endswith(".")
        for metrics in (RUN_GAUGES, SHARD_GAUGES, SAMPLE_COUNTERS, SAMPLE_HISTOGRAMS)
        for metric in metrics
    )
    assert all(counter.name.endswith("_total") for counter in SAMPLE_COUNTERS)
    assert [counter.value(FAILED) for counter in SAMPLE_COUNTERS] == [1, 0, 0, 0]
    assert [histogram.value(FAILED) for histogram in SAMPLE_HISTOGRAMS] == [0.004, None, None, None, None]
    assert [histogram.value(ROW) for histogram in SAMPLE_HISTOGRAMS] == [0.004, 2.0, 0.8, 0.5, 2.0]
    assert last_finite([]) is None
    assert labels_of(SAMPLE_COUNTERS[0], FAILED) == {"run": "r1", "sampler": "esamp", "shard": "", "status": "error"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(port: int, query: str) -> list[Any]:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        result: list[Any] = json.load(answer)["data"]["result"]
        return result


@pytest.mark.slow
@pytest.mark.ray
def test_a_prometheus_scrapes_every_metric_and_answers_every_query(tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not there (apt-get install prometheus)")
    exporter, server = free_port(), free_port()
    shutil.copy(FOLDER / "alerts.yaml", tmp_path / "alerts.yaml")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False,
        _metrics_export_port=exporter,
    )  # fmt: skip
    arguments = [
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{server}",
    ]
    process = subprocess.Popen([prometheus, *arguments], stderr=subprocess.DEVNULL, env=os.environ)
    try:
        run_metrics, sample_metrics = RunMetrics(run="r1", sampler="esamp"), SampleMetrics()
        deadline, missing = time.monotonic() + 240, exported_names()
        while missing and time.monotonic() < deadline:
            # A rate needs counters that grow between two scrapes.
            run_metrics(PROGRESS)
            sample_metrics.add([ROW, FAILED])
            time.sleep(2)
            try:
                missing = {name for name in missing if not ask(server, name)}
            except OSError:
                continue  # Prometheus is starting
        assert missing == set()
        [finished] = ask(server, "ray_esamp_samples_finished")
        assert (finished["metric"]["run"], finished["metric"]["sampler"], finished["value"][1]) == ("r1", "esamp", "2")
        for _ in range(10):
            sample_metrics.add([ROW])
            time.sleep(2)
        for query in dashboard_queries():
            assert ask(server, query.replace("$run", ".*")), query
        with urllib.request.urlopen(f"http://127.0.0.1:{server}/api/v1/rules", timeout=10) as answer:
            rules = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
        assert len(rules) == len(alert_queries()) and {rule["health"] for rule in rules} == {"ok"}
    finally:
        process.terminate()
        process.wait(30)
        ray.shutdown()
