"""The comparison itself: every installed engine's query keeps the rules, and a wrong answer does not pass."""

import datetime as dt
import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import assets
import bank
import identities
import snapshot

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

AS_OF = dt.date(2024, 6, 30)
Event = tuple[str, int, float | None]


def ago(days: int, hour: int = 12) -> int:
    """Microseconds of a wall-clock hour, `days` days before AS_OF."""
    moment = dt.datetime.combine(AS_OF - dt.timedelta(days=days), dt.time(hour), tzinfo=dt.timezone.utc)
    return int(moment.timestamp()) * 1_000_000


def at(action: str, days: int, hour: int = 12, rating: float | None = None) -> Event:
    return action, ago(days, hour), rating


# What happened, and the stage it leads to; one consumer each.
CASES: list[tuple[list[Event], str | None]] = [
    ([at("impression", 14, 0)], "A"),
    ([at("impression", 15, 23)], None),
    ([at("impression", -1, 0)], None),
    ([at("category_search", 0, 23)], "A"),
    ([at("view", 3, 1), at("view", 3, 23)], "A"),
    ([at("view", 3), at("view", 6)], "I"),
    ([at("view", 0), at("view", 14)], "I"),
    ([at("view", 0), at("view", 15)], "A"),
    ([at("like", 14, 0)], "I"),
    ([at("like", 15, 23)], None),
    ([at("member_join", 366)], "I"),
    ([at("member_join", 366), at("member_leave", 365)], None),
    ([at("member_leave", 366), at("member_join", 365)], "I"),
    ([at("member_join", 30), at("member_leave", 30)], None),
    ([at("member_leave", 30), at("member_join", 30)], None),
    ([at("member_join", 5), at("member_leave", -1)], "I"),
    ([at("member_join", 40), at("unfollow", 30)], "I"),
    ([at("follow", 40), at("unfollow", 40)], None),
    ([at("follow", 2000)], "I"),
    ([at("purchase", 20, 1), at("purchase", 20, 22)], "P"),
    ([at("purchase", 0), at("purchase", 364, 0)], "L"),
    ([at("purchase", 0), at("purchase", 365, 23)], "P"),
    ([at("purchase", 909, 0)], "P"),
    ([at("purchase", 910, 23)], None),
    ([at("purchase", -1)], None),
    ([at("review", 364, 0, 4.0)], "L"),
    ([at("review", 365, 23, 5.0)], None),
    ([at("review", 1, 12, 3.9)], None),
    ([at("review", 1, 12, None), at("click", 2)], "A"),
    ([at("purchase", 3), at("view", 1), at("view", 2)], "P"),
    ([at("refund", 3)], None),
]

ENGINES = [engine for engine in snapshot.ENGINES if snapshot.installed(engine)]


def write(path: Path, ids: list[Any]) -> None:
    """Each case as its own brand, so that no count can make up for another; plus a brand that everybody shares."""
    rows: dict[str, list[Any]] = {"user_id": [], "brand": [], "action": [], "ts": [], "rating": []}
    for number, (events, _) in enumerate(CASES):
        for brand in (f"case{number:02}", "shared"):
            for action, time, rating in events:
                for column, value in zip(rows, (ids[number], brand, action, time, rating), strict=True):
                    rows[column].append(value)
    table = pa.table(rows)
    for name, kind in (("ts", pa.timestamp("us")), ("rating", pa.float64())):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, path)


@pytest.fixture(scope="module", params=["int", "text"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(str(request.param))
    numbers = range(1, len(CASES) + 1)
    write(folder / "part.parquet", [f"u{n:07}" if request.param == "text" else n for n in numbers])
    return folder


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_keeps_the_rules(engine: str, folder: Path) -> None:
    result = snapshot.run(engine, str(folder / "*.parquet"), AS_OF, threads=1)
    expected = {(f"case{number:02}", stage): 1 for number, (_, stage) in enumerate(CASES) if stage}
    for _, stage in CASES:
        if stage:
            expected["shared", stage] = expected.get(("shared", stage), 0) + 1
    assert {(brand, stage): count for brand, stage, count in result["counts"]} == expected
    assert result["query_seconds"] > 0
    assert result["peak_mib"] >= result["prepared_mib"] > 0


@pytest.mark.skipif(not ENGINES, reason="no engine installed")
def test_equal_answers_pass_and_are_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert snapshot.main([str(folder), "--as-of", str(AS_OF), "--repeat", "1", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "all answers are equal" in out
    for engine in snapshot.ENGINES:
        assert (f"{engine} is not installed" in out) == (engine not in ENGINES)


def test_different_answers_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(engine: str, *_: object) -> dict[str, Any]:
        count = 3 if engine == "polars" else 2
        figures = dict.fromkeys(["prepare_seconds", "query_seconds", "prepared_mib", "peak_mib"], 1.0)
        return {"version": "0", **figures, "counts": [["b", "A", 1], ["b", "I", count]]}

    monkeypatch.setattr(snapshot, "installed", lambda engine: True)
    monkeypatch.setattr(snapshot, "run", run)
    assert snapshot.main([str(folder), "--as-of", str(AS_OF), "--engines", "duckdb,polars,chdb"]) == 1
    printed = capsys.readouterr()
    assert "equal" not in printed.out
    assert printed.err.splitlines() == [
        "duckdb and polars differ in 1 brand x stage counts, such as b/I: 2 and 3"
    ]


def test_a_failing_engine_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    if not ENGINES:
        pytest.skip("no engine installed")
    assert snapshot.main([str(tmp_path), "--as-of", str(AS_OF), "--engines", ENGINES[-1]]) == 1
    assert f"{ENGINES[-1]} ended with status" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as-of", "yesterday"], "'yesterday' is not a day as YYYY-MM-DD"),
        (["--as-of", "2024-06-30", "--engines", "spark"], "choose from aipl, duckdb, polars, chdb, not 'spark'"),
        (["--as-of", "2024-06-30", "--repeat", "0"], "'0' is not a whole number from 1"),
        ([], "--as-of"),
    ],
)
def test_arguments_are_checked(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        snapshot.main(["folder", *arguments])
    assert refusal.value.code == 2
    assert message in capsys.readouterr().err


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert snapshot.main([str(tmp_path), "--as-of", str(AS_OF)]) == 1
    assert "no Parquet files" in capsys.readouterr().err


def test_components_are_the_same_in_every_engine(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numpy")
    engines = [engine for engine in identities.ENGINES if engine == "aipl" or importlib.util.find_spec(engine)]
    assert identities.compare(engines, 300, 250, 5, 1) == 0
    assert "the same partition" in capsys.readouterr().out


def test_strings_are_resolved_beside_their_decoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numpy")
    assert identities.strings(tmp_path, 400, 300, 5) == 0
    assert "300 rows" in capsys.readouterr().out


def test_a_bank_answers_as_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb")
    rows = 400
    table = pa.table(
        {
            "user_id": [row % 37 for row in range(rows)],
            "brand": [f"b{row % 3}" for row in range(rows)],
            "action": [["view", "purchase", "favorite", "member_join"][row % 4] for row in range(rows)],
            "ts": pa.array([ago(row % 30) for row in range(rows)], pa.timestamp("us")),
            "rating": [4.0 if row % 5 else None for row in range(rows)],
            "amount": [1.5] * rows,
        }
    )
    (tmp_path / "events").mkdir()
    pq.write_table(table, tmp_path / "events" / "part.parquet")
    arguments = ["bank.py", str(tmp_path / "events"), str(tmp_path / "work"), "--as-of", AS_OF.isoformat(), "--batches", "5", "--repeat", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert bank.main() == 0
    assert "400 events in 5 batches" in capsys.readouterr().out


def shop(path: Path, ids: str) -> None:
    """A small log of a year with several purchases an order, members who leave and come back, and every brand in every month."""
    lots = random.Random(5)
    actions = ["impression", "view", "view", "click", "add_to_cart", "favorite", "search", "follow", "unfollow", "review"]
    actions += ["purchase"] * 4 + ["member_join", "member_leave"]
    rows: dict[str, list[Any]] = {"user_id": [], "brand": [], "action": [], "ts": [], "rating": [], "amount": []}
    for number in range(6_000):
        # Every fifth day, so that orders have several lines; the last is December 30, and noon is when joins and leaves meet.
        moment = dt.datetime(2024, 12, 30, tzinfo=dt.timezone.utc) - dt.timedelta(days=5 * lots.randrange(73))
        action, user = lots.choice(actions), lots.randrange(1, 90)
        hour = 12 if action.startswith("member") else lots.randrange(24)
        row = {
            "user_id": f"u{user:07}" if ids == "text" else user,
            "brand": f"b{min(lots.randrange(5), number % 5):03}",
            "action": action,
            "ts": int(moment.timestamp() + hour * 3600) * 1_000_000,
            "rating": float(lots.randrange(1, 6)) if action == "review" else None,
            "amount": lots.randrange(1_000, 20_000) / 100 if action == "purchase" else None,
        }
        for column, values in rows.items():
            values.append(row[column])
    kinds = {"ts": pa.timestamp("us"), "rating": pa.float64(), "amount": pa.float64()}
    pq.write_table(pa.table({name: pa.array(values, kinds.get(name)) for name, values in rows.items()}), path)


@pytest.mark.parametrize("ids", ["int", "text"])
def test_consumer_assets_are_the_same_in_both_engines(ids: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb")
    shop(tmp_path / "part.parquet", ids)
    arguments = [str(tmp_path), "--repeat", "1", "--threads", "1", *(["--clustered"] if ids == "text" else [])]
    status = assets.main(arguments)
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert "all answers are equal" in printed.out
    for measure in assets.MEASURES:
        assert f"\n{measure} " in printed.out


def test_a_different_asset_is_told(tmp_path: Path) -> None:
    columns = {"scope": ["b0", "b1"], "start": [1, 2], "new": [0, 0], "returned": [0, 0], "lapsed": [0, 0], "end": [1, 2]}
    paths = [tmp_path / f"{name}.parquet" for name in ("aipl", "same", "other", "fewer", "empty")]
    tables = [columns, columns, {**columns, "end": [1, 3]}, {name: values[:1] for name, values in columns.items()}]
    tables.append({"scope": ["b0", "b1", "b2"], **{name: [*values, 0] for name, values in columns.items() if name != "scope"}})
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(pa.table(table), path)
    told = [assets.compare("aac_bridge", paths[0], other) for other in paths[1:]]
    assert told[0] is None and told[3] is None
    assert told[1] == "aac_bridge: aipl.parquet and other.parquet differ in 1 of 2 rows, such as\n  ('b1',): end 2 and 3"
    assert told[2] == "aac_bridge: aipl.parquet and fewer.parquet differ in 1 of 2 rows, such as\n  ('b1',): only in aipl.parquet"
    assert assets.equal(100.0, 100.0 + 9e-8, 0.0) and not assets.equal(100.0, 100.0 + 2e-7, 0.0)
    assert assets.equal(0.0, 9e-8, 100.0) and not assets.equal(None, 0.0, 100.0) and not assets.equal(True, None, 0.0)
