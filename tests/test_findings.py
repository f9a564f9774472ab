"""Figures of docs/findings.md are those of the verdicts that lie beside it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRINTED = re.compile(r"^(.+), k = (\d+): (.+)$", re.MULTILINE)


def test_the_gains_by_coupling_and_the_bound_are_those_of_the_document() -> None:
    command = [sys.executable, "docs/findings/coupling.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=True)
    found = {(name, int(k)): figures for name, k, figures in PRINTED.findall(done.stdout)}
    text = " ".join((ROOT / "docs" / "findings.md").read_text().split())
    told = [figures for (name, k), figures in found.items() if name.startswith(("Countdown, quasi", "both", "GSM8K"))]
    assert len(told) == 10
    for figures in told:
        assert figures in text
    bounds = ", ".join(found["bound", k].split(",")[0] for k in (4, 8, 16, 32))
    assert f"{bounds} at k = 4, 8, 16, 32, with p from" in text
    assert found["bound", 16].split("worth ")[1] in text
