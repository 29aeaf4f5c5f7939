"""Files that are not what they say: text that is no UTF-8, damage that a checksum shows, changes, links, declared sizes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import aipl

SCHEMA = aipl.EventSchema(
    consumer="user",
    brand="brand",
    behavior="action",
    time="day",
    touchpoint="touch",
    amount="amount",
    behaviors={"浏览": "view", "收藏加购": "like", "购买": "purchase", "view": "view"},
)
MODEL = aipl.StageModel.preset("databank")
DAY = "2024-06-30"


def rows(count: int = 120) -> dict[str, list[object]]:
    columns = {
        "user": ["张三", "李四", "王五"],
        "brand": ["耐克", "阿迪达斯", "李宁"],
        "action": ["浏览", "收藏加购", "购买"],
        "touch": ["搜索", "直播", "短视频"],
        "day": [DAY] * 3,
        "amount": [1.0, 2.0, 3.0],
    }
    return {name: values * (count // 3) for name, values in columns.items()}


def labels(events: aipl.Events) -> dict[str, list[object]]:
    return aipl.snapshot(events, MODEL, as_of=DAY).labels().to_pydict()


@pytest.mark.parametrize("column", ["user", "brand", "action", "touch"])
@pytest.mark.parametrize("marked", [False, True])
def test_text_in_another_encoding_is_rejected_rows(tmp_path: Path, column: str, marked: bool) -> None:
    table = pa.table(rows())
    encoded = pa.array([str(value).encode("gbk") for value in rows()[column]], pa.binary())
    table = table.set_column(table.column_names.index(column), column, encoded)
    path = tmp_path / "events.parquet"
    # An Arrow schema noted beside can say what it likes; the file's own mark counts.
    pq.write_table(table, path, store_schema=marked)
    events = aipl.scan_parquet(path, SCHEMA, tz="UTC")
    report = events.validate()
    assert (report.rows_total, report.rows_rejected) == (120, 120)
    assert set(report.rejected) == {"not_utf8"}
    assert {example["column"] for example in report.examples} == {column}
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz="UTC", model=MODEL)
    good = pa.table(rows(3))
    bank.ingest(good, batch_id="good")
    assert bank.ingest(events, batch_id="bad")["rows_added"] == 0
    assert len(aipl.snapshot(bank, MODEL, as_of=DAY).labels()) == 3
    bank.verify()


def test_one_bad_text_costs_one_row(tmp_path: Path) -> None:
    table = pa.table(rows(3))
    texts = [b"ann", b"\xff\xfe\x80", "王五".encode()]
    table = table.set_column(0, "user", pa.array(texts, pa.binary()))
    path = tmp_path / "events.parquet"
    pq.write_table(table, path)
    events = aipl.scan_parquet(path, SCHEMA, tz="UTC")
    snap = aipl.snapshot(events, MODEL, as_of=DAY)
    assert sorted(snap.labels().to_pydict()["consumer"]) == ["ann", "王五"]
    assert snap.report.rejected == {"not_utf8": 1}
    assert "浏览" not in str(snap.report.to_dict()["examples"])


def test_frames_of_bytes_are_checked_too() -> None:
    table = pa.table(rows(3)).set_column(0, "user", pa.array([b"ann", b"\xff", b"bob"], pa.binary()))
    try:
        report = aipl.from_arrow(table, SCHEMA, tz="UTC").validate()
    except aipl.SchemaError as error:
        assert "user" in str(error)
    else:
        assert report.rejected == {"not_utf8": 1}


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
def test_a_flipped_bit_under_a_checksum_is_never_another_answer(tmp_path: Path, compression: str) -> None:
    chance = random.Random(7)
    table = pa.table({name: [chance.choice(values[:3]) for _ in range(200)] for name, values in rows().items()})
    whole, damaged = tmp_path / "whole.parquet", tmp_path / "damaged.parquet"
    pq.write_table(table, whole, write_page_checksum=True, compression=compression)
    bytes_ = whole.read_bytes()
    expected = labels(aipl.scan_parquet(whole, SCHEMA, tz="UTC"))
    refused = 0
    # Pages alone: nothing checks the footer but its own form.
    end = len(bytes_) - int.from_bytes(bytes_[-8:-4], "little") - 8
    for _ in range(120):
        flipped = bytearray(bytes_)
        flipped[chance.randrange(4, end)] ^= 1 << chance.randrange(8)
        damaged.write_bytes(flipped)
        try:
            events = aipl.scan_parquet(damaged, SCHEMA, tz="UTC")
            assert events.validate().rows_rejected == 0
            assert labels(events) == expected
        except aipl.SourceError:
            refused += 1
    assert refused > 60


def test_checksums_can_be_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table(rows()), path, write_page_checksum=True, **plain)
    bytes_ = bytearray(path.read_bytes())
    at = bytes_.index("王五".encode())
    bytes_[at : at + 3] = "张".encode()
    path.write_bytes(bytes_)
    with pytest.raises(aipl.SourceError, match="checksum"):
        labels(aipl.scan_parquet(path, SCHEMA, tz="UTC"))
    unverified = aipl.ReadOptions(verify_checksums=False)
    assert "张五" in labels(aipl.scan_parquet(path, SCHEMA, tz="UTC", read_options=unverified))["consumer"]


def test_a_bank_takes_no_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user,brand,action,touch,day,amount\nann,acme,view,t,{DAY},1\n")
    events = aipl.scan_csv(path, SCHEMA, tz="UTC")
    path.write_text(f"brand,user,action,touch,day,amount\nacme,ann,view,t,{DAY},1\n")
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz="UTC", model=MODEL)
    with pytest.raises(aipl.SourceError, match="changed since it was opened"):
        bank.ingest(events, batch_id="x")
    assert bank.info()["rows"] == 0
    assert bank.ingest(aipl.scan_csv(path, SCHEMA, tz="UTC"), batch_id="x")["rows_added"] == 1
    assert labels(bank.events() if hasattr(bank, "events") else bank)["consumer"] == ["ann"]


def test_links_to_folders_read_no_event_twice(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"user,brand,action,touch,day,amount\nann,acme,view,t,{DAY},1\n")
    for name in ("latest", "a", "b"):
        os.symlink(".", tmp_path / name)
    for pattern in ("", "*", "**/*.csv", "**", "*/*/*/*/*.csv"):
        paths = [f"{tmp_path}/{pattern}", f"{tmp_path}/x.csv"]
        assert aipl.scan_csv(paths, SCHEMA, tz="UTC").validate().rows_total == 1, pattern


def test_limits_are_options(tmp_path: Path) -> None:
    columns = {**rows(3), **{f"c{at}": [1] * 3 for at in range(50)}}
    files = {"parquet": tmp_path / "a.parquet", "ipc": tmp_path / "a.arrow", "csv": tmp_path / "a.csv"}
    pq.write_table(pa.table(columns), files["parquet"])
    feather.write_feather(pa.table(columns), files["ipc"])
    header = ",".join(columns) + "\n"
    files["csv"].write_text(header + "".join(",".join(str(values[at]) for values in columns.values()) + "\n" for at in range(3)))
    for kind, path in files.items():
        scan = getattr(aipl, f"scan_{kind}")
        assert scan(path, SCHEMA, tz="UTC", read_options=aipl.ReadOptions(max_columns=56)).validate().rows_kept == 3
        with pytest.raises(aipl.LimitError, match=r"over the limit of 55; ReadOptions.max_columns raises it"):
            scan(path, SCHEMA, tz="UTC", read_options=aipl.ReadOptions(max_columns=55))
    assert issubclass(aipl.LimitError, aipl.SourceError)
    with pytest.raises(TypeError, match="read_options"):
        aipl.scan_parquet(files["parquet"], SCHEMA, tz="UTC", read_options={})  # type: ignore[arg-type]
    with pytest.raises(aipl.ParameterError, match="max_rows"):
        aipl.ReadOptions(max_rows=0)


def nested(depth: int) -> pa.Table:
    kind = pa.int32()
    for _ in range(depth):
        kind = pa.struct([("x", kind)])
    return pa.table(rows(3)).append_column("deep", pa.nulls(3, kind))


def test_levels_of_tables_in_memory_are_bounded() -> None:
    assert aipl.from_arrow(nested(60), SCHEMA, tz="UTC").validate().rows_kept == 3
    for table in (nested(70), nested(70).to_batches()[0], nested(70).to_reader()):
        with pytest.raises(aipl.LimitError, match="levels of nested columns"):
            aipl.from_arrow(table, SCHEMA, tz="UTC")


CHILD = """
import resource, sys
import aipl
schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day")
options = aipl.ReadOptions(max_rows=10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    events = getattr(aipl, sys.argv[1])(sys.argv[2], schema, tz="UTC", read_options=options)
    outcome = events.validate().rows_total
except aipl.LimitError as error:
    outcome = "limit"
print(outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def in_child(scan: str, path: Path) -> tuple[str, int]:
    """What reading every row comes to, and the MiB that it took."""
    child = subprocess.run([sys.executable, "-c", CHILD, scan, str(path)], capture_output=True, text=True, timeout=120, check=True)
    outcome, mib = child.stdout.split()
    return outcome, int(mib)


def test_small_files_that_hold_much_stay_small_in_memory(tmp_path: Path) -> None:
    count = 6_000_000
    one = {"user": "u", "brand": "x", "action": "view", "day": DAY}
    table = pa.table({name: pa.repeat(value, count).dictionary_encode() for name, value in one.items()})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=count, compression="zstd")
    assert path.stat().st_size < 100_000
    outcome, mib = in_child("scan_parquet", path)
    assert (outcome, mib < 400) == (str(count), True), mib
    wide = pa.table({name: pa.repeat(value * (100 if name == "brand" else 1), 4_000_000) for name, value in one.items()})
    path = tmp_path / "rows.arrow"
    with pa.ipc.new_file(path, wide.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(wide)
    outcome, mib = in_child("scan_ipc", path)
    assert (outcome, mib < 400) == ("limit", True), mib
