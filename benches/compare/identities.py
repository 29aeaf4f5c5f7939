"""Connected components side by side: aipl, scipy, and for small graphs networkx and DuckDB's recursive query.

    python benches/compare/identities.py --links 100000000 --nodes 60000000
    python benches/compare/identities.py --links 20000 --nodes 12000 --engines aipl,scipy,networkx,duckdb
    python benches/compare/identities.py --strings FOLDER --links 100000000 --nodes 60000000

Links are drawn at random (generated data). Every engine runs in a process of its own and gets the same two arrays of node numbers; time is
from the arrays to one label a node, and building whatever the engine needs is part of it. `--strings` writes phone and device numbers
as zstd Parquet into FOLDER (once), and compares resolving them, persons walked, with decoding the same columns.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ENGINES = ("aipl", "scipy", "networkx", "duckdb")
PART_ROWS = 5_000_000


def draw(nodes: int, links: int, seed: int) -> tuple[Any, Any]:
    import numpy as np

    lots = np.random.default_rng(seed)
    return lots.integers(0, nodes, links, dtype=np.int32), lots.integers(0, nodes, links, dtype=np.int32)


def by_aipl(left: Any, right: Any, nodes: int) -> Any:
    import aipl
    import numpy as np
    import pyarrow as pa

    table = pa.table({"left": left.view(np.uint32), "right": right.view(np.uint32)})
    started = time.perf_counter()
    labels = aipl.connected_components(table, nodes=nodes)
    seconds = time.perf_counter() - started
    return seconds, np.asarray(pa.table(labels)["component"])


def by_scipy(left: Any, right: Any, nodes: int) -> Any:
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    started = time.perf_counter()
    matrix = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(nodes, nodes))
    _, labels = connected_components(matrix, directed=False)
    return time.perf_counter() - started, labels


def by_networkx(left: Any, right: Any, nodes: int) -> Any:
    import networkx
    import numpy as np

    started = time.perf_counter()
    graph = networkx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(zip(left.tolist(), right.tolist(), strict=True))
    labels = np.empty(nodes, dtype=np.int64)
    for group in networkx.connected_components(graph):
        labels[list(group)] = min(group)
    return time.perf_counter() - started, labels


def by_duckdb(left: Any, right: Any, nodes: int) -> Any:
    """The recursion keeps one row a node: its least known neighbor's label, until nothing changes."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    links = pa.table({"a": np.concatenate([left, right]), "b": np.concatenate([right, left])})  # noqa: F841 (DuckDB reads it by name)
    started = time.perf_counter()
    query = f"""
        WITH RECURSIVE reached(node, label) AS (
            SELECT range, range FROM range({nodes})
            UNION
            SELECT links.b, min(reached.label) FROM reached JOIN links ON links.a = reached.node WHERE reached.label < links.b GROUP BY links.b
        )
        SELECT min(label) AS label FROM reached GROUP BY node ORDER BY node
    """
    labels = duckdb.sql(query).fetchnumpy()["label"]
    return time.perf_counter() - started, np.asarray(labels)


def child(engine: str, nodes: int, links: int, seed: int) -> None:
    import numpy as np

    left, right = draw(nodes, links, seed)
    seconds, labels = {"aipl": by_aipl, "scipy": by_scipy, "networkx": by_networkx, "duckdb": by_duckdb}[engine](left, right, nodes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    # Any labels that split the nodes alike give the same list of least nodes.
    _, places = np.unique(labels, return_inverse=True)
    least = np.full(places.max() + 1, nodes, dtype=np.int64)
    np.minimum.at(least, places, np.arange(nodes))
    checksum = int(((least[places] + 1) * (np.arange(nodes) % 1_000_003 + 1) % 2_147_483_647).sum())
    print(json.dumps({"seconds": seconds, "peak": peak, "components": len(least), "checksum": checksum}))


def run(engine: str, nodes: int, links: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", engine, "--nodes", str(nodes), "--links", str(links), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{engine} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def compare(engines: list[str], nodes: int, links: int, seed: int, repeat: int) -> int:
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(repeat):
        for engine in engines:
            found[engine].append(run(engine, nodes, links, seed))
    print(f"{links:,} links over {nodes:,} nodes, median of {repeat}")
    for engine, answers in found.items():
        seconds = statistics.median(answer["seconds"] for answer in answers)
        peak = max(answer["peak"] for answer in answers)
        print(f"{engine:>10}  {seconds:9.3f} s  {peak:>7,} MiB  {answers[0]['components']:,} components")
    same = {(answer["components"], answer["checksum"]) for answers in found.values() for answer in answers}
    print("the same partition" if len(same) == 1 else f"partitions DIFFER: {same}")
    return 0 if len(same) == 1 else 1


def write_strings(folder: Path, nodes: int, links: int, seed: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    lots, half = np.random.default_rng(seed), max(nodes // 2, 1)
    for part, start in enumerate(range(0, links, PART_ROWS)):
        rows = min(PART_ROWS, links - start)
        phone = pc.cast(pa.array(13_000_000_000 + lots.integers(0, half, rows) * 233 % 1_000_000_000), pa.string())
        device = pc.binary_join_element_wise("d", pc.cast(pa.array(lots.integers(0, half, rows) * 2_654_435_761 % 2**40), pa.string()), "")
        table = pa.table({"phone": phone, "device": device})
        pq.write_table(table, folder / f"part-{part:05}.parquet", compression="zstd", row_group_size=1_000_000)


def strings(folder: Path, nodes: int, links: int, seed: int) -> int:
    import aipl
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not list(folder.glob("*.parquet")):
        write_strings(folder, nodes, links, seed)
    # The first time is for the page cache: what is compared must not wait for the disk.
    rows, decoding = 0, []
    for _ in range(4):
        started = time.perf_counter()
        rows = sum(pq.read_table(path, columns=["phone", "device"]).num_rows for path in sorted(folder.glob("*.parquet")))
        decoding.append(time.perf_counter() - started)
    decoded = statistics.median(decoding[1:])
    started = time.perf_counter()
    people = aipl.resolve_identities(folder / "*.parquet", ["phone", "device"])
    resolved = time.perf_counter() - started
    shown = sum(batch.num_rows for batch in pa.RecordBatchReader.from_stream(people.persons()))
    total = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{rows:,} rows, {people!r}, {shown:,} rows of persons")
    print(f"decode {decoded:.1f} s; resolve {resolved:.1f} s, with persons {total:.1f} s = {total / decoded:.1f} x decode; peak {peak:,} MiB")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=10_000_000)
    parser.add_argument("--nodes", type=int, default=6_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--engines", default="aipl,scipy")
    parser.add_argument("--strings", type=Path)
    parser.add_argument("--child", choices=ENGINES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.nodes, given.links, given.seed)
        return 0
    if given.strings:
        return strings(given.strings, given.nodes, given.links, given.seed)
    engines = given.engines.split(",")
    unknown = [engine for engine in engines if engine not in ENGINES]
    if unknown:
        parser.error(f"unknown engines {unknown}; there are {', '.join(ENGINES)}")
    return compare(engines, given.nodes, given.links, given.seed, given.repeat)


if __name__ == "__main__":
    raise SystemExit(main())
