"""Every source, written by the libraries that people use, and every way in which a file can be wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aipl
import builders
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

TABLE = builders.table()


def stages(events: aipl.Events) -> dict[tuple[Any, Any], str]:
    return builders.labels(events)


def parquet(path: Any, schema: aipl.EventSchema = builders.SCHEMA, **options: Any) -> aipl.Events:
    return aipl.scan_parquet(path, schema, tz=builders.ZONE, **options)


# --- round trips ------------------------------------------------------------------------------------------------------


def duck(path: Path, how: str) -> None:
    connection = duckdb.connect()
    connection.register("events", TABLE)
    connection.execute(f"copy events to '{path}' ({how})")


PARQUET: dict[str, Callable[[Path], object]] = {
    "pyarrow": lambda path: pq.write_table(TABLE, path),
    "pyarrow small row groups, version 1": lambda path: pq.write_table(TABLE, path, row_group_size=2, version="1.0", use_dictionary=False),
    "pyarrow int96": lambda path: pq.write_table(TABLE, path, use_deprecated_int96_timestamps=True),
    "polars": lambda path: pl.from_arrow(TABLE).write_parquet(path),
    "pandas": lambda path: TABLE.to_pandas().to_parquet(path),
    "duckdb": lambda path: duck(path, "format parquet"),
    **{f"pyarrow {codec}": lambda path, codec=codec: pq.write_table(TABLE, path, compression=codec) for codec in ("zstd", "gzip", "brotli", "lz4", "none")},
}


@pytest.mark.parametrize("writer", PARQUET)
def test_parquet(writer: str, tmp_path: Path) -> None:
    PARQUET[writer](tmp_path / "events.parquet")
    assert stages(parquet(tmp_path / "events.parquet")) == builders.STAGES


IPC: dict[str, Callable[[Path], object]] = {
    "pyarrow": lambda path: pyarrow.feather.write_feather(TABLE, path),
    "pyarrow zstd": lambda path: pyarrow.feather.write_feather(TABLE, path, compression="zstd"),
    "pyarrow plain": lambda path: pyarrow.feather.write_feather(TABLE, path, compression="uncompressed"),
    "polars": lambda path: pl.from_arrow(TABLE).write_ipc(path),
    "polars stream": lambda path: pl.from_arrow(TABLE).write_ipc_stream(path),
    "pandas": lambda path: TABLE.to_pandas().to_feather(path),
}


@pytest.mark.parametrize("writer", IPC)
def test_ipc(writer: str, tmp_path: Path) -> None:
    IPC[writer](tmp_path / "events.arrow")
    assert stages(aipl.scan_ipc(tmp_path / "events.arrow", builders.SCHEMA, tz=builders.ZONE)) == builders.STAGES


CSV: dict[str, Callable[[Path], object]] = {
    "pyarrow": lambda path: pyarrow.csv.write_csv(TABLE, path),
    "polars": lambda path: pl.from_arrow(TABLE).write_csv(path),
    "pandas": lambda path: TABLE.to_pandas().to_csv(path, index=False),
    "duckdb": lambda path: duck(path, "format csv, header"),
    "byte order mark, carriage returns": lambda path: TABLE.to_pandas().to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n"),
}


@pytest.mark.parametrize("writer", CSV)
def test_csv(writer: str, tmp_path: Path) -> None:
    CSV[writer](tmp_path / "events.csv")
    assert stages(aipl.scan_csv(tmp_path / "events.csv", builders.SCHEMA, tz=builders.ZONE)) == builders.STAGES


ARROW: dict[str, Callable[[], Any]] = {
    "pyarrow table": lambda: TABLE,
    "pyarrow batch": lambda: TABLE.combine_chunks().to_batches()[0],
    "pyarrow reader": lambda: TABLE.to_reader(2),
    "pyarrow scanner": lambda: pyarrow.dataset.dataset(TABLE).scanner().to_reader(),
    "pandas": lambda: TABLE.to_pandas(),
    "polars": lambda: pl.from_arrow(TABLE),
    "duckdb relation": lambda: duckdb.connect().from_arrow(TABLE),
    "duckdb query": lambda: duckdb.connect().from_arrow(TABLE).filter("brand is not null"),
}


@pytest.mark.parametrize("library", ARROW)
def test_arrow_is_read_again_for_each_question(library: str) -> None:
    events = aipl.from_arrow(ARROW[library](), builders.SCHEMA, tz=builders.ZONE)
    for _ in range(3):
        assert stages(events) == builders.STAGES
    assert events.validate().rows_total == len(builders.ROWS)
    assert library.split()[0] in repr(events)


def test_one_shot_streams_are_kept_even_after_an_early_end() -> None:
    def batches() -> Any:
        yield from TABLE.to_batches(max_chunksize=3)

    reader = pa.RecordBatchReader.from_batches(TABLE.schema, batches())
    events = aipl.from_arrow(reader, builders.SCHEMA, tz=builders.ZONE)

    def stop(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        aipl.snapshot(events, builders.DATABANK, as_of=builders.AS_OF, progress=stop)
    assert stages(events) == stages(events) == builders.STAGES


def test_a_failing_stream_never_passes_for_a_whole_one() -> None:
    def batches() -> Any:
        yield TABLE.to_batches()[0]
        raise ValueError("the network is down")

    events = aipl.from_arrow(pa.RecordBatchReader.from_batches(TABLE.schema, batches()), builders.SCHEMA, tz=builders.ZONE)
    for _ in range(2):
        with pytest.raises(aipl.SourceError, match="the network is down"):
            stages(events)


def test_objects_that_export_no_table() -> None:
    for wrong in ([1], None, "events.parquet", {"user": []}):
        with pytest.raises(TypeError, match="data: an object that exports an Arrow stream"):
            aipl.from_arrow(wrong, builders.SCHEMA, tz="UTC")
    with pytest.raises(TypeError, match="exports no Arrow table"):
        aipl.from_arrow(pa.chunked_array([[1, 2]]), builders.SCHEMA, tz="UTC")
    with pytest.raises(TypeError, match="tz"):
        aipl.from_arrow(TABLE, builders.SCHEMA)  # type: ignore[call-arg]
    with pytest.raises(aipl.ParameterError, match="^tz: "):
        aipl.from_arrow(TABLE, builders.SCHEMA, tz="Asia/Shangha")
    with pytest.raises(TypeError, match="schema: an EventSchema is needed, not dict"):
        aipl.from_arrow(TABLE, {}, tz="UTC")  # type: ignore[arg-type]


def test_a_changed_data_frame_is_noticed() -> None:
    frame = TABLE.to_pandas()
    events = aipl.from_arrow(frame, builders.SCHEMA, tz=builders.ZONE)
    frame.insert(0, "new", 1)
    with pytest.raises(aipl.SourceError, match="columns are not those"):
        stages(events)


# --- accepted types ---------------------------------------------------------------------------------------------------

IDS = [getattr(pa, name)() for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "string", "large_string", "string_view")]
IDS += [pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.int64()), pa.dictionary(pa.uint16(), pa.large_string())]


@pytest.mark.parametrize("kind", IDS, ids=str)
def test_id_types(kind: pa.DataType) -> None:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    numbers = pa.array([1, 2, 3, 2])
    ids = numbers.cast(value) if pa.types.is_integer(value) else numbers.cast(pa.string()).cast(value)
    ids = ids.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else ids
    table = pa.table({"user": ids, "brand": ids, "action": ["purchase"] * 4, "time": pa.array([builders.AS_OF] * 4)})
    events = aipl.from_arrow(table, builders.SCHEMA, tz="UTC")
    python = int if pa.types.is_integer(value) else str
    assert stages(events) == {(python(number), python(number)): "P" for number in (1, 2, 3)}


MOMENT = dt.datetime(2024, 6, 30, 15, 59, 59)  # in UTC; the last second of the day in Shanghai
EPOCH = int(MOMENT.replace(tzinfo=dt.timezone.utc).timestamp())
TIMES: dict[str, tuple[pa.Array, str | None]] = {
    **{f"timestamp {unit}": (pa.array([dt.datetime(2024, 6, 30, 23, 59, 59)], pa.timestamp(unit)), None) for unit in ("s", "ms", "us", "ns")},
    **{f"timestamp {unit} UTC": (pa.array([MOMENT], pa.timestamp(unit, "UTC")), None) for unit in ("s", "ms", "us", "ns")},
    "timestamp New York": (pa.array([MOMENT], pa.timestamp("us", "America/New_York")), None),
    "timestamp +05:30": (pa.array([MOMENT], pa.timestamp("us", "+05:30")), None),
    "date32": (pa.array([builders.AS_OF], pa.date32()), None),
    "date64": (pa.array([builders.AS_OF], pa.date64()), None),
    "text day": (pa.array(["2024-06-30"]), None),
    "text": (pa.array(["2024-06-30 23:59:59"], pa.large_string()), None),
    "text T": (pa.array(["2024-06-30T23:59:59.999999"]), None),
    "text Z": (pa.array(["2024-06-30T15:59:59Z"], pa.string_view()), None),
    "text offset": (pa.array(["2024-06-30 10:59:59-05:00"]).dictionary_encode(), None),
    "seconds": (pa.array([EPOCH], pa.int64()), "s"),
    "seconds int32": (pa.array([EPOCH], pa.int32()), "s"),
    "milliseconds": (pa.array([EPOCH * 1000], pa.uint64()), "ms"),
    "microseconds": (pa.array([EPOCH * 10**6], pa.int64()), "us"),
    "nanoseconds": (pa.array([EPOCH * 10**9], pa.int64()), "ns"),
    "days": (pa.array([19_904], pa.int16()), "d"),
}


@pytest.mark.parametrize("name", TIMES)
def test_time_types(name: str) -> None:
    times, unit = TIMES[name]
    table = pa.table({"user": ["u"], "brand": ["b"], "action": ["impression"], "time": times})
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", time_unit=unit)
    events = aipl.from_arrow(table, schema, tz="Asia/Shanghai")
    # The day is 2024-06-30: not seen the day before, seen through 14 days, gone on the 15th.
    for later, expected in ((-1, {}), (0, {("u", "b"): "A"}), (14, {("u", "b"): "A"}), (15, {})):
        assert builders.labels(events, as_of=builders.AS_OF + dt.timedelta(days=later)) == expected


AMOUNTS = [pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.float16(), pa.decimal128(22, 2), pa.decimal256(40, 3), pa.string()]


@pytest.mark.parametrize("kind", AMOUNTS, ids=str)
def test_amount_types(kind: pa.DataType) -> None:
    table = pa.table({"user": ["u", "u", "v"], "brand": ["b"] * 3, "action": ["purchase"] * 3, "time": pa.array([builders.AS_OF] * 3), "paid": pa.array([60, 40, 99]).cast(kind)})
    assert buyers(table, 100) == ["u"]


def buyers(table: pa.Table, least: Any) -> list[Any]:
    rule = {"behaviors": ["purchase"], "count": "sum", "of": "amount", "min": least}
    stages = [{"code": "A", "name": "any", "any": [{"behaviors": ["view"]}]}, {"code": "B", "name": "buyer", "any": [rule]}]
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", amount="paid")
    model = aipl.StageModel.from_dict({"id": "m", "stage": stages})
    return aipl.snapshot(aipl.from_arrow(table, schema, tz="UTC"), model, as_of=builders.AS_OF).audience("b", "B").ids()


def test_sums_are_exact() -> None:
    paid = pa.array([Decimal("0.1")] * 10, pa.decimal128(5, 1))
    for column in (paid, paid.cast(pa.float64()), paid.cast(pa.string())):
        table = pa.table({"user": ["u"] * 10, "brand": ["b"] * 10, "action": ["purchase"] * 10, "time": pa.array([builders.AS_OF] * 10), "paid": column})
        assert buyers(table, 1) == ["u"] and buyers(table, 1.000001) == []


# --- paths ------------------------------------------------------------------------------------------------------------


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    pq.write_table(TABLE.slice(0, 3), folder / "a.parquet")
    pq.write_table(TABLE.slice(3, 2), folder / "b.parquet")
    pq.write_table(TABLE.slice(5), folder / "more" / "c.parquet")
    files = [folder / "a.parquet", folder / "b.parquet", folder / "more" / "c.parquet"]
    for path in (folder, str(folder), f"{folder}/**/*.parquet", files, files[::-1], [str(file) for file in files], [f"{folder}/*.parquet", files[2]]):
        assert stages(parquet(path)) == builders.STAGES
    monkeypatch.chdir(tmp_path)
    assert stages(parquet("data")) == builders.STAGES
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stages(parquet("~/data")) == builders.STAGES
    for missing in ("data/z.parquet", "data/*.orc", tmp_path / "nowhere"):
        with pytest.raises(aipl.SourceError, match="no such file"):
            parquet(missing)
    for wrong, error in ((5, TypeError), (b"data", TypeError), ([], aipl.ParameterError), ("", aipl.ParameterError), ([None], TypeError)):
        with pytest.raises(error, match="^path: "):
            parquet(wrong)


def test_hive_folders_may_hold_any_field(tmp_path: Path) -> None:
    for user, brand, action, day in builders.ROWS:
        part = tmp_path / f"day={day}" / f"brand={brand}" / f"action={action}"
        part.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"user": [user]}), part / f"{user}.parquet")
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day")
    assert stages(parquet(tmp_path, schema)) == builders.STAGES


# --- what can be wrong ------------------------------------------------------------------------------------------------


def test_files_that_disagree(tmp_path: Path) -> None:
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    pq.write_table(TABLE.slice(0, 4).set_column(3, "time", TABLE["time"].slice(0, 4).cast(pa.date32())), first)
    pq.write_table(TABLE.slice(4).select(["time", "action", "user", "brand"]).append_column("extra", pa.array([1, 2, 3])), second)
    try:
        assert stages(parquet(tmp_path)) == builders.STAGES
    except aipl.SchemaError as error:
        assert "time" in str(error) and "2.parquet" in str(error)
    pq.write_table(TABLE.slice(0, 4).set_column(0, "user", pa.array([1, 2, 3, 4])), first)
    with pytest.raises(aipl.SchemaError, match="user"):
        parquet(tmp_path)
    pq.write_table(TABLE.slice(0, 4).drop_columns(["brand"]), first)
    with pytest.raises(aipl.SchemaError, match="brand"):
        stages(parquet(tmp_path))


def test_integer_widths_widen(tmp_path: Path) -> None:
    rows = [(1, "b", "purchase", "2024-06-01"), (70_000, "b", "purchase", "2024-06-01")]
    for at, kind in enumerate([pa.int8(), pa.int64()]):
        table = builders.table(rows[at : at + 1])
        pq.write_table(table.set_column(0, "user", table["user"].cast(kind)), tmp_path / f"{at}.parquet")
    assert stages(parquet(tmp_path)) == {(1, "b"): "P", (70_000, "b"): "P"}


@pytest.mark.parametrize("scan", [aipl.scan_parquet, aipl.scan_ipc], ids=["parquet", "ipc"])
def test_files_that_are_none(scan: Callable[..., aipl.Events], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    pq.write_table(TABLE, whole) if scan is aipl.scan_parquet else pyarrow.feather.write_feather(TABLE, whole)
    content = whole.read_bytes()
    path = tmp_path / "events.bin"
    for wrong in (b"", b"PAR1", b"ARROW1\0\0", b"nonsense" * 50, content[: len(content) // 2], content[:-3], content[20:]):
        path.write_bytes(wrong)
        with pytest.raises(aipl.SourceError, match=r"events\.bin"):
            stages(scan(path, builders.SCHEMA, tz="UTC"))


def csv_events(path: Path, text: str | bytes, **options: Any) -> aipl.Events:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return aipl.scan_csv(path, builders.SCHEMA, tz=builders.ZONE, **options)


HEAD = "user,brand,action,time\n"


def test_csv_rows_that_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    text = HEAD + "u1,b,view,2024-06-30\nu2,b\nu3,b,view,2024-06-30,extra\nu4,b,view,soon\n"
    with pytest.warns(aipl.RejectedRowsWarning):
        report = csv_events(path, text.encode() + b"\xff\xfe,b,view,2024-06-30\n").validate()
    assert report.rejected == {"malformed_row": 2, "not_utf8": 1, "unreadable_time": 1} and report.rows_kept == 1
    assert sorted(example["row"] for example in report.examples) == [3, 4, 5, 6]
    with pytest.raises(aipl.RejectedRowsError, match=r"events\.csv, row 3: malformed_row"):
        csv_events(path, text, on_error="raise").validate()


def test_csv_forms(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    assert stages(csv_events(path, 'user;brand;action;time\n"u;1";\'b;view;2024-06-30\n', delimiter=";")) == {("u;1", "'b"): "A"}
    assert stages(csv_events(path, HEAD + "'a,\nb',b,view,2024-06-30", quote="'")) == {("a,\nb", "b"): "A"}
    assert stages(csv_events(path, HEAD + '007,"say ""x""",view,2024-06-30 23:59\n\n')) == {("007", 'say "x"'): "A"}
    assert stages(csv_events(path, HEAD)) == {}
    for content, message in ((b"", "events.csv"), (HEAD.encode("utf-16"), "UTF-16"), (b"user,user,action,time\n", "user")):
        with pytest.raises(aipl.AiplError, match=message):
            csv_events(path, content)
    with pytest.raises(aipl.ColumnNotFoundError, match='no column "time"'):
        csv_events(path, "user,brand,action,tme\n")
    for options in ({"delimiter": ""}, {"delimiter": "::"}, {"quote": "é"}, {"quote": ","}, {"delimiter": "\n"}):
        with pytest.raises(aipl.ParameterError, match="delimiter|quote"):
            csv_events(path, HEAD, **options)
    with pytest.raises(TypeError, match="delimiter: a str"):
        csv_events(path, HEAD, delimiter=44)


def test_empty_files_give_empty_answers(tmp_path: Path) -> None:
    pq.write_table(TABLE.slice(0, 0), tmp_path / "empty.parquet")
    assert stages(parquet(tmp_path)) == {}
    pq.write_table(TABLE, tmp_path / "full.parquet")
    assert stages(parquet(tmp_path)) == builders.STAGES
    pyarrow.feather.write_feather(TABLE.slice(0, 0), tmp_path / "empty.arrow")
    assert stages(aipl.scan_ipc(tmp_path / "empty.arrow", builders.SCHEMA, tz="UTC")) == {}
    assert stages(aipl.from_arrow(pd.DataFrame({"user": [], "brand": [], "action": [], "time": []}, dtype="str"), builders.SCHEMA, tz="UTC")) == {}


def test_clock_changes_follow_the_rule() -> None:
    """New York: 2024-03-10 02:30 does not exist and is 03:30; 2024-11-03 01:30 happens twice and is the first."""
    for moment, day in (("2024-03-10 02:30:00", dt.date(2024, 3, 10)), ("2024-11-03 01:30:00", dt.date(2024, 11, 3))):
        table = builders.table([("u", "b", "impression", moment)])
        events = aipl.from_arrow(table, builders.SCHEMA, tz="America/New_York")
        assert builders.labels(events, as_of=day) == {("u", "b"): "A"}
