"""Under a limit of memory, large work ends in an answer or in `MemoryLimitError`, never with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aipl

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to know how much memory it has")

ROWS = 3_000_000

PROGRAM = """
import resource, sys, warnings
import aipl
warnings.simplefilter("ignore")
path, folder, what, mib = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", amount="amount")
model = aipl.StageModel.preset("databank")
before = resource.getrlimit(resource.RLIMIT_AS)
has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def ask():
    events = aipl.scan_parquet(path, schema, tz="UTC")
    if what == "load":
        return len(events.load())
    if what == "snapshot":
        return len(aipl.snapshot(events, model, as_of="2024-07-30").labels().to_pydict()["stage"])
    if what == "audience":
        snap = aipl.snapshot(events, model, as_of="2024-07-30")
        return len((snap.audience(1, "A") | snap.audience(1, "I")).ids())
    if what == "identity":
        return len(aipl.resolve_identities(path, ["user", "time"]))
    with aipl.DataBank.create(f"{folder}/bank-{what}-{mib}-{resource.getrlimit(resource.RLIMIT_AS)[0]}", schema, tz="UTC") as bank:
        return bank.ingest(events, batch_id="1", memory_limit=64 << 20)["rows_added"]

resource.setrlimit(resource.RLIMIT_AS, (has + (mib << 20) + (64 << 20), before[1]))
try:
    print("answer", ask())
except aipl.MemoryLimitError as error:
    assert isinstance(error, MemoryError) and isinstance(error, aipl.AiplError)
    print("refused", error)
resource.setrlimit(resource.RLIMIT_AS, before)
if len(sys.argv) > 5:
    print("lifted", ask())
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events enough to need some hundred MiB, made without a library of numbers."""
    path = tmp_path_factory.mktemp("memory") / "events.parquet"
    numbers = range(ROWS)
    table = pa.table(
        {
            "user": pa.array([(at * 7919) % 1_000_003 for at in numbers], pa.int64()),
            "brand": pa.array([at % 50 for at in numbers], pa.int64()),
            "action": pa.array(["view", "purchase", "cart"] * (ROWS // 3)).dictionary_encode(),
            "time": pa.array(
                [1_717_200_000_000_000 + (at * 104_729) % 5_184_000 * 1_000_000 for at in numbers],
                pa.timestamp("us", "UTC"),
            ),
            "amount": pa.array([float(at % 100) for at in numbers]),
        }
    )
    pq.write_table(table, path)
    return path


def run(events: Path, folder: Path, what: str, mib: int, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(events), str(folder), what, str(mib), *more],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "AIPL_NUM_THREADS": "2"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mib", [0, 20, 60, 120, 250])
@pytest.mark.parametrize("what", ["load", "snapshot", "ingest", "audience"])
def test_large_work_is_answered_or_refused(events: Path, tmp_path: Path, what: str, mib: int) -> None:
    done = run(events, tmp_path, what, mib)
    assert done.returncode != -signal.SIGABRT, done.stderr[-500:]
    assert (done.returncode, done.stdout.split()[:1]) in ((0, ["answer"]), (0, ["refused"])), (
        done.returncode,
        done.stdout,
        done.stderr[-2000:],
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", ["load", "snapshot", "ingest"])
def test_the_same_process_answers_once_the_limit_is_lifted(events: Path, tmp_path: Path, what: str) -> None:
    done = run(events, tmp_path, what, 0, "lift")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith("lifted ")


def test_the_error_has_both_kinds() -> None:
    assert issubclass(aipl.MemoryLimitError, aipl.AiplError) and issubclass(aipl.MemoryLimitError, MemoryError)
    assert issubclass(aipl.LimitError, aipl.SourceError)


def test_a_limit_of_threads_is_told() -> None:
    program = """
    import resource
    import aipl
    aipl.set_num_threads(512)
    has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + (96 << 20), resource.RLIM_INFINITY))
    try:
        aipl.StageModel.preset("databank").to_toml()
    except aipl.MemoryLimitError as error:
        print("refused", error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("refused "), done.stderr[-2000:]
