"""The committed comparison with the paper is what its script prints, and the sizes are the published ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_committed_tables_are_current(child_environment: dict[str, str]) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "paper_tables.py")]
    done = subprocess.run(command, env=child_environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    sizes = done.stdout.partition("\nLatency")[0]
    committed = (ROOT / "benchmarks" / "results" / "paper_tables.txt").read_text()
    assert committed.partition("\nLatency")[0] == sizes
    rows = [line for line in sizes.splitlines() if "/6" in line and "%" in line]
    assert len(rows) == 16 and sum(" yes " in row for row in rows) == 10
    for row in rows:
        assert float(row.partition(" %")[0].split()[-1]) < 0.02, row
    assert "9,534,263 (w 1/4, d 1/6)" in sizes
