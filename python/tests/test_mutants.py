"""A few damaged files of every format; `benches/corpora/mutants.py` tries as many as one likes."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "benches" / "corpora" / "mutants.py"


@pytest.mark.parametrize(
    ("formats", "count"),
    [("parquet", 10), ("ipc", 20), ("csv", 60), ("identity,audience,universe,model", 60), ("bank", 15)],
)
def test_damage_is_refused_or_harmless(formats, count):
    command = [sys.executable, str(TOOL), "--seed", "1", "--count", str(count), "--formats", formats]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
