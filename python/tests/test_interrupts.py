"""Ctrl-C is heard within half a second, whatever goes on and whenever it comes; afterwards everything can be asked as before."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
    import os, signal, sys, tempfile, threading, time, warnings
    import numpy, pyarrow as pa, pyarrow.parquet as pq
    import aipl, builders
    warnings.simplefilter("ignore")
    folder = tempfile.mkdtemp(dir={folder!r})
    rng = numpy.random.default_rng(1)
    {make}
    def ask():
        {ask}
    sent, after = [], float(sys.argv[1])
    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(after, interrupt).start()
    try:
        until = time.perf_counter() + 60
        while time.perf_counter() < until:
            ask()
    except KeyboardInterrupt:
        heard = time.perf_counter() - sent[0]
        assert len(aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of="2024-06-30").labels()) == 5
        left = [name for name in os.listdir(folder) if name.startswith(".") or "unfinished" in name]
        print(heard, left)
        sys.exit(0)
    sys.exit("not interrupted")
"""

LABELS = """
    n = 2_000_000
    ids = pa.array(numpy.arange(n))
    table = pa.table({"user": ids, "brand": pa.repeat("x", n), "action": pa.repeat("purchase", n).dictionary_encode(),
                      "time": pa.repeat("2024-06-30", n).dictionary_encode()})
    log = aipl.from_arrow(table, builders.SCHEMA, tz="UTC").load()
    snap = aipl.snapshot(log, builders.DATABANK, as_of="2024-06-30")
    audience = snap.audience("x", "P")
"""
FILES = """
    for at in range(3000):
        with open(f"{folder}/{at}.csv", "w") as file:
            file.write("user,brand,action,time\\nu,b,view,2024-06-30\\n")
"""
LINKS = """
    n = 300_000
    rows = pa.table({"phone": [f"139{at:08}" for at in range(n)], "account": [f"a{at // 2}" for at in range(n)]})
    identity = aipl.resolve_identities(rows, ["phone", "account"])
    path = folder + "/identity.parquet"
    identity.to_parquet(path)
"""
STATES = """
    n = 1_000_000
    tags = pa.table({"user": numpy.arange(n), "age": rng.integers(0, 90, n), "city": rng.integers(0, 300, n)})
"""

CASES = {
    "labels as a dict": (LABELS, "snap.labels().to_pydict()"),
    "labels as a file": (LABELS, 'snap.labels()._inner.write_parquet(folder + "/labels.parquet")'),
    "ids": (LABELS, "audience.ids()"),
    "from ids": (LABELS, "aipl.Audience.from_ids(range(1_000_000), snap)"),
    "an audience as bytes": (LABELS, "audience.to_bytes(); audience - snap.audience('x', 'L')"),
    "a universe as bytes": (LABELS, "import pickle; pickle.loads(pickle.dumps(snap.universe))"),
    "files": (FILES, 'aipl.scan_csv(folder, builders.SCHEMA, tz="UTC")'),
    "a pattern": (FILES, 'aipl.scan_csv(folder + "/**/*.csv", builders.SCHEMA, tz="UTC")'),
    "an identity file": (LINKS, "aipl.IdentityMap.from_parquet(path)"),
    "identities to a file": (LINKS, "identity.to_parquet(path)"),
    "identities as a table": (LINKS, "identity.persons().to_pydict()"),
    "attributes": (STATES, 'aipl.attributes(tags, consumer="user")'),
    "a model": (
        "model = builders.DATABANK",
        "aipl.StageModel.from_toml(model.to_toml()); aipl.StageModel.from_json(model.to_json())",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_interrupt_is_heard_within_half_a_second(case: str, tmp_path: Path) -> None:
    make, ask = CASES[case]
    make = textwrap.indent(textwrap.dedent(make).strip(), "    ").strip()
    program = textwrap.dedent(PROGRAM).format(
        folder=str(tmp_path), make=textwrap.dedent(make).replace("\n    ", "\n"), ask=ask
    )
    heard: list[float] = []
    # Another process may take the processor in the middle of a try, so a slow one is tried again.
    while len(heard) < 6 and sum(time < 0.5 for time in heard) < 2:
        done = subprocess.run(
            [sys.executable, "-c", program, str(random.uniform(0.2, 1.5))],
            capture_output=True, text=True, check=False, timeout=200, cwd=Path(__file__).parent,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        time, left = done.stdout.split(" ", 1)
        assert left.strip() == "[]", (case, left)
        heard.append(float(time))
    assert sum(time < 0.5 for time in heard) == 2 and max(heard) < 3, (case, heard)
