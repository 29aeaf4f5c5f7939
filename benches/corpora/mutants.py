"""Damaged files against the readers: bits flipped, bytes set, ends cut off, blocks swapped, doubled and inserted.

    pip install ./python pyarrow
    python benches/corpora/mutants.py --seed 1 [--count 2000] [--formats parquet,ipc]

Formats: parquet, ipc, csv, identity, audience, universe, model, bank. Every mutant is read in a child process. It must give
an answer or a typed refusal, within memory and time; where all of a file is under a checksum, the answer must be that of
the whole file. Exit status 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import io
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

import aipl

SCHEMA = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="at", amount="amount")
DAY = "2024-06-30"
CODECS = ("none", "snappy", "zstd", "gzip", "brotli", "lz4")
SECONDS, MIB = 20, 512


@dataclass
class Kind:
    """A format: a whole file of it, how it is asked, and whether all of it is under a checksum."""

    name: str
    whole: bytes
    ask: Callable[[bytes], object]
    proven: bool = False


def rows() -> pa.Table:
    number = range(400)
    return pa.table(
        {
            "user": [f"u{row % 37}" for row in number],
            "brand": [f"b{row % 3}" for row in number],
            "action": [("view", "purchase", "favorite", "impression")[row % 4] for row in number],
            "at": pa.array([1_719_700_000_000_000 - row * 3_600_000_000 for row in number], pa.timestamp("us")),
            "amount": pa.array([float(row) if row % 4 == 1 else None for row in number]),
        }
    )


def answer(source: object) -> object:
    """Counts, people and rejected rows of events."""
    snap = aipl.snapshot(source, aipl.StageModel.preset("databank"), as_of=DAY)
    people = [snap.audience(scope, "A").ids() for scope in snap.scopes]
    report = snap.report
    return snap.counts().to_pydict(), people, (report.rows_total, report.rows_rejected)


def in_file(name: str, ask: Callable[[str], object]) -> Callable[[bytes], object]:
    def asked(data: bytes) -> object:
        Path(name).write_bytes(data)
        return ask(name)

    return asked


def parquet_kinds() -> list[Kind]:
    kinds = []
    ask = in_file("e.parquet", lambda path: answer(aipl.scan_parquet(path, SCHEMA, tz="UTC")))
    for codec in CODECS:
        for crc in (False, True):
            to = io.BytesIO()
            pq.write_table(rows(), to, compression=codec, write_page_checksum=crc, row_group_size=150)
            kinds.append(Kind(f"parquet {codec}{' crc' if crc else ''}", to.getvalue(), ask))
    return kinds


def ipc_kinds() -> list[Kind]:
    kinds = []
    ask = in_file("e.arrow", lambda path: answer(aipl.scan_ipc(path, SCHEMA, tz="UTC")))
    for codec in (None, "lz4", "zstd"):
        for form, new in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
            to = io.BytesIO()
            with new(to, rows().schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
                writer.write_table(rows(), max_chunksize=150)
            kinds.append(Kind(f"ipc {form} {codec or 'none'}", to.getvalue(), ask))
    return kinds


def csv_kinds() -> list[Kind]:
    to = io.BytesIO()
    pa.csv.write_csv(rows(), to)
    ask = in_file("e.csv", lambda path: answer(aipl.scan_csv(path, SCHEMA, tz="UTC")))
    return [Kind("csv", to.getvalue(), ask)]


def identity_kinds() -> list[Kind]:
    aipl.resolve_identities(rows(), ["user", "brand"]).to_parquet("people.parquet")
    ask = in_file("map.parquet", lambda path: aipl.IdentityMap.from_parquet(path).persons().to_pydict())
    return [Kind("identity", Path("people.parquet").read_bytes(), ask, proven=True)]


def audience() -> aipl.Audience:
    events = aipl.from_arrow(rows(), SCHEMA, tz="UTC")
    return aipl.snapshot(events, aipl.StageModel.preset("databank"), as_of=DAY).audience("b1", "P")


def audience_kinds() -> list[Kind]:
    people = audience()
    ask = lambda data: aipl.Audience.from_bytes(data, people.universe).ids()  # noqa: E731
    return [Kind("audience", people.to_bytes(), ask, proven=True)]


def universe_kinds() -> list[Kind]:
    restore, (data,) = audience().universe.__reduce__()
    ask = lambda data: (len(restore(data)), restore(data).fingerprint)  # noqa: E731
    return [Kind("universe", data, ask, proven=True)]


def model_kinds() -> list[Kind]:
    model = aipl.StageModel.preset("o5a")
    toml = in_file("m.toml", lambda path: aipl.StageModel.from_toml(Path(path)).to_json())
    return [
        Kind("model toml", model.to_toml().encode(), toml),
        Kind("model json", model.to_json().encode(), lambda data: aipl.StageModel.from_json(data.decode()).to_json()),
    ]


def bank_kinds() -> list[Kind]:
    """One kind a file of a bank, which lies in the bank when it is asked."""
    model = aipl.StageModel.preset("databank")
    with aipl.DataBank.create("bank", SCHEMA, tz="UTC", model=model) as bank:
        bank.ingest(aipl.from_arrow(rows(), SCHEMA, tz="UTC"), batch_id="one")
        bank.materialize(DAY)
        bank.save_audience("kept", aipl.snapshot(bank, model, as_of=DAY).audience("b1", "P"))
    kinds = []
    for path in sorted(Path("bank").rglob("*")):
        if path.is_file() and path.name != "writer.lock":
            inner = path.relative_to("bank")
            kinds.append(Kind(f"bank {inner.parts[0]}", path.read_bytes(), bank_with(inner), proven=True))
    return kinds


def bank_with(inner: Path) -> Callable[[bytes], object]:
    def asked(data: bytes) -> object:
        shutil.rmtree("tried", ignore_errors=True)
        shutil.copytree("bank", "tried")
        Path("tried", inner).write_bytes(data)
        with aipl.DataBank.open("tried") as bank:
            bank.verify()
            other = aipl.snapshot(bank, aipl.StageModel.preset("databank"), as_of="2024-06-29").counts().to_pydict()
            return answer(bank), other, bank.audience("kept").ids()

    return asked


MAKERS = {
    "parquet": parquet_kinds,
    "ipc": ipc_kinds,
    "csv": csv_kinds,
    "identity": identity_kinds,
    "audience": audience_kinds,
    "universe": universe_kinds,
    "model": model_kinds,
    "bank": bank_kinds,
}


def mutant(whole: bytes, chance: random.Random) -> bytes:
    """One damage of a kind that disks, copies and senders do."""
    data = bytearray(whole)
    at, length = chance.randrange(len(data)), min(len(data), 1 << chance.randrange(8))
    match chance.randrange(9):
        case 0 | 1 | 2:
            data[at] ^= 1 << chance.randrange(8)
        case 3:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        case 4:
            del data[at:]
        case 5:
            data[at : at + length] = bytes(length)
        case 6:
            data[at:at] = chance.randbytes(length)
        case 7:
            del data[at : at + length]
        case _:
            other = chance.randrange(len(data))
            data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
    return bytes(data)


def judge(kind: Kind, data: bytes, right: object) -> str:
    """How one mutant was received, in a word, with what is wrong."""
    try:
        told = kind.ask(data)
    except aipl.InternalError as error:
        return f"panic InternalError: {error}"
    except (aipl.AiplError, MemoryError, UnicodeDecodeError) as error:
        return f"typed {type(error).__name__}"
    except BaseException as error:
        return f"panic {type(error).__name__}: {error}"
    return "same" if told == right else "other"


def child(kind: Kind, mutants: list[bytes], right: object, answers: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for data in mutants:
        os.write(answers, (judge(kind, data, right).replace("\n", " ")[:300] + "\n").encode(errors="replace"))
    os._exit(0)


def batch(kind: Kind, mutants: list[bytes], right: object) -> tuple[list[str], float]:
    """Reads mutants in one child until it ends: what became of each, and MiB at most. A child dies of its last one."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        child(kind, mutants, right, write)
    os.close(write)
    told, last, late = b"", time.monotonic(), False
    while not late:
        ready, _, _ = select.select([read], [], [], SECONDS)
        late = not ready
        data = os.read(read, 65536) if ready else b""
        if not data:
            break
        told += data
    if late:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status, usage = os.wait4(pid, 0)
    lines = told.decode(errors="replace").splitlines()
    if len(lines) < len(mutants):
        lines.append("timeout" if late else f"abort {status}")
    return lines, usage.ru_maxrss / 1024


def run(kind: Kind, seed: int, count: int, keep: Path | None) -> tuple[collections.Counter[str], float, list[str]]:
    """Tries so many mutants; counts by outcome, MiB at most, and what is wrong."""
    chance = random.Random(f"{seed} {kind.name}")
    mutants: list[bytes] = []
    while len(mutants) < count:
        data = mutant(kind.whole, chance)
        mutants += [data] if data != kind.whole else []
    right = kind.ask(kind.whole)
    outcomes: collections.Counter[str] = collections.Counter()
    wrong, most, done = [], 0.0, 0
    while done < count:
        lines, memory = batch(kind, mutants[done : done + 50], right)
        most = max(most, memory)
        for number, line in enumerate(lines, done):
            word = line.split(" ", 1)[0]
            outcomes[word] += 1
            if word not in ("same", "typed") and not (word == "other" and not kind.proven):
                wrong.append(f"{kind.name} mutant {number} of seed {seed}: {line}")
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{kind.name}-{seed}-{number}".replace(" ", "-")).write_bytes(mutants[number])
        if memory > MIB:
            wrong.append(f"{kind.name} mutants {done} to {done + len(lines)} of seed {seed}: {memory:.0f} MiB")
        done += len(lines)
    return outcomes, most, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, default=2000, help="mutants of a kind of file")
    parser.add_argument("--formats", default=",".join(MAKERS))
    parser.add_argument("--keep", type=Path, help="a folder for mutants that show a fault")
    given = parser.parse_args()
    keep = given.keep.resolve() if given.keep else None
    warnings.simplefilter("ignore")
    os.chdir(tempfile.mkdtemp(prefix="aipl-mutants-"))
    print("| kind | mutants | same | other | typed | panic | abort | timeout | most MiB |")
    print("| --- |" + " ---: |" * 8)
    wrong = []
    for name in given.formats.split(","):
        for kind in MAKERS[name]():
            outcomes, most, faults = run(kind, given.seed, given.count, keep)
            words = ("same", "other", "typed", "panic", "abort", "timeout")
            counted = " | ".join(str(outcomes[word]) for word in words)
            print(f"| {kind.name} | {given.count} | {counted} | {most:.0f} |", flush=True)
            wrong += faults
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
