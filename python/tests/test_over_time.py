"""Logs, trend, flow, history, timeline and drivers: against the naive twin, and at their edges."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aipl
import builders
import naive
import pyarrow as pa
import pytest
import random_logs
from builders import AS_OF, DATABANK, ZONE

DAY = dt.timedelta(days=1)


def days(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + DAY * at for at in range((last - first).days + 1)]


def text_of(scope: Any) -> Any:
    return "/".join(scope) if isinstance(scope, tuple) else scope


def twin(model: dict[str, Any], events: list[dict[str, Any]], states: list[Any], range_: list[dt.date]) -> dict[dt.date, dict[Any, str]]:
    """Labels by (consumer, scope as tables show it), for each day."""
    found = {}
    for day in range_:
        labels = naive.snapshot(model, events, day, states)
        found[day] = {(consumer, text_of(scope)): stage for (consumer, scope), stage in labels.items()}
    return found


def counted(pairs: Any) -> dict[Any, int]:
    return {key: count for key, count in Counter(pairs).items() if count}


def table_of(table: aipl.Table) -> dict[Any, int]:
    """The rows of a trend without zeros."""
    return {(row["day"], row["scope"], row["stage"]): row["consumers"] for row in table.to_dicts() if row["consumers"]}


def check_trend(source: Any, model: aipl.StageModel, labels: dict[dt.date, dict[Any, str]], first: dt.date, last: dt.date) -> None:
    def ask(**options: Any) -> dict[Any, int]:
        return table_of(aipl.trend(source, model, start=first, end=last, **options))

    range_ = days(first, last)
    stock = counted((day, scope, stage) for day in range_ for (_, scope), stage in labels[day].items())
    assert ask() == stock
    moves = [(day, labels[day - DAY], labels[day]) for day in range_]
    entries = counted((day, scope, s) for day, old, new in moves for (who, scope), s in new.items() if old.get((who, scope)) != s)
    exits = counted((day, scope, s) for day, old, new in moves for (who, scope), s in old.items() if new.get((who, scope)) != s)
    assert ask(measure="entries") == entries
    assert ask(measure="exits") == exits
    seen: set[Any] = set()
    union = Counter()
    for day in range_:
        seen |= {(scope, stage, who) for (who, scope), stage in labels[day].items()}
        union.update((day, scope, stage) for scope, stage, _ in seen)
    assert ask(measure="union") == dict(union)
    for step, ends in (("week", lambda day: day.weekday() == 6), ("month", lambda day: (day + DAY).day == 1)):
        kept = [day for day in range_ if ends(day) or day == last]
        assert ask(step=step) == {key: count for key, count in stock.items() if key[0] in kept}
        summed: Counter[Any] = Counter()
        for (day, scope, stage), count in entries.items():
            summed[min(end for end in kept if end >= day), scope, stage] += count
        assert ask(step=step, measure="entries") == dict(summed)


def check_flow(source: Any, model: aipl.StageModel, old: dict[Any, str], new: dict[Any, str], first: dt.date, last: dt.date) -> aipl.Flow:
    flow = aipl.flow(source, model, start=first, end=last)
    cells = {(row["scope"], row["from_stage"], row["to_stage"]): row["consumers"] for row in flow.matrix().to_dicts()}
    pairs = {*old, *new}
    assert {key: count for key, count in cells.items() if count} == counted(
        (scope, old.get((who, scope), "out"), new.get((who, scope), "out")) for who, scope in pairs
    )
    members: dict[Any, set[Any]] = {}
    for who, scope in pairs:
        members.setdefault((scope, old.get((who, scope), "out"), new.get((who, scope), "out")), set()).add(who)
    for scope, start, end in sorted(members, key=str)[:200]:
        assert set(flow.audience(start, end, scope=scope).ids()) == members[scope, start, end]
    for row in flow.classes().to_dicts():
        parts = ("new", "returned") if row["from_stage"] == "out" else ("kept", "advanced", "regressed", "lost")
        assert row["consumers"] == sum(row[part] for part in parts)
    bases: Counter[Any] = Counter()
    for (scope, start, _), count in cells.items():
        bases[scope, start] += count
    for row in flow.rates().to_dicts():
        base = bases[row["scope"], row["from_stage"]]
        assert row["base"] == base
        assert row["percent"] == (None if base == 0 else pytest.approx(100 * row["consumers"] / base))
    return flow


@pytest.mark.parametrize("seed", range(12))
def test_random_models_and_logs_equal_the_naive_twin(seed: int) -> None:
    rng = random.Random(1000 + seed)
    rules = random_logs.random_model(rng)
    events = random_logs.random_events(rng, 80, ["s1", "s2"] if rules["scope"] == "store" else ["s1", None])
    source = aipl.from_arrow(random_logs.as_arrow(events), random_logs.FULL, tz=ZONE)
    states: list[Any] = []
    if rng.random() < 0.6:
        source, states = random_logs.with_random_states(rng, source, rules["scope"])
    model = aipl.StageModel.from_dict(rules)
    first, last = AS_OF - DAY * rng.choice([3, 20, 40]), AS_OF + DAY * rng.choice([0, 9, 20])
    labels = twin(rules, events, states, days(first - DAY, last))
    log = source.load()
    for asked in (source, log):
        check_trend(asked, model, labels, first, last)
        check_flow(asked, model, labels[first], labels[last], first, last)
    wanted = sorted({first, first + DAY * 2, last})
    rates = {
        (row["start"], row["end"], row["scope"], row["from_stage"], row["to_stage"]): row["consumers"]
        for row in aipl.flow_triangle(log, model, days=list(reversed(wanted))).to_dicts()
    }
    for at, start in enumerate(wanted):
        for end in wanted[at + 1 :]:
            cells = counted((scope, stage, labels[end].get((who, scope), "out")) for (who, scope), stage in labels[start].items())
            assert {key[2:]: count for key, count in rates.items() if key[:2] == (start, end) and count} == cells
    for consumer in ("u1", "u2", "nobody"):
        for row in (runs := aipl.history(log, model, consumer=consumer).to_dicts()):
            assert row["last_day"] is None or row["first_day"] <= row["last_day"]
        for day in days(first, last):
            held = {(consumer, r["scope"]): r["stage"] for r in runs if r["first_day"] <= day and (r["last_day"] is None or day <= r["last_day"])}
            assert held == {pair: stage for pair, stage in labels[day].items() if pair[0] == consumer}


@pytest.mark.parametrize("seed", range(5))
def test_new_and_returned_and_peak_equal_the_naive_twin(seed: int) -> None:
    rng = random.Random(7 + seed)
    rules = random_logs.random_model(rng)
    rules["scope"] = "brand"
    rules.pop("brand_wide_touchpoints", None)
    events = random_logs.random_events(rng, 40, ["s1", None])
    model = aipl.StageModel.from_dict(rules)
    source = aipl.from_arrow(random_logs.as_arrow(events), random_logs.FULL, tz=ZONE)
    first, last = AS_OF - DAY * 16, AS_OF
    labels = twin(rules, events, [], days(AS_OF - DAY * 501, last))
    codes = [stage["code"] for stage in rules["stage"]]
    before = {pair for day, found in labels.items() if day < first for pair in found}
    arrivals = labels[last].keys() - labels[first].keys()
    flow = aipl.flow(source.load(), model, start=first, end=last)
    for scope in flow.scopes:
        here = {pair for pair in arrivals if pair[1] == scope}
        assert set(flow.class_audience("new", scope=scope).ids()) == {who for who, _ in here - before}
        assert set(flow.class_audience("returned", scope=scope).ids()) == {who for who, _ in here & before}
    peak = aipl.flow(source, model, start=first, end=last, mode="peak")
    highest: dict[Any, str] = {}
    for day in days(first + DAY, last):
        for pair, stage in labels[day].items():
            highest[pair] = max(highest.get(pair, stage), stage, key=codes.index)
    pairs = {*labels[first], *highest}
    assert {(r["scope"], r["from_stage"], r["to_stage"]): r["consumers"] for r in peak.matrix().to_dicts() if r["consumers"]} == counted(
        (scope, labels[first].get((who, scope), "out"), highest.get((who, scope), "out")) for who, scope in pairs
    )


def test_tmall_log_equals_the_naive_twin(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("tmall_2014_events.csv")
    meanings = {"0": "view", "1": "purchase", "2": "favorite", "3": "add_to_cart"}
    with path.open(newline="", encoding="utf-8") as file:
        raw = [row for row in csv.DictReader(file) if int(row["user_id"]) % 40 == 0]
    at = [dt.date(2014, *map(int, row["visit_datetime"].split("-"))) for row in raw]
    events = [
        {"consumer": int(row["user_id"]), "brand": int(row["brand_id"]), "behavior": meanings[row["type"]], "day": day, "order": 0}
        for row, day in zip(raw, at, strict=True)
    ]
    table = pa.table({"user": [e["consumer"] for e in events], "brand": [e["brand"] for e in events], "what": [e["behavior"] for e in events], "day": at})
    source = aipl.from_arrow(table, aipl.EventSchema(consumer="user", brand="brand", behavior="what", time="day"), tz=ZONE)
    first, last = dt.date(2014, 6, 25), dt.date(2014, 7, 2)
    labels = twin(DATABANK.to_dict(), events, [], days(first - DAY, last))
    log = source.load()
    assert len(log) == len(raw) > 1_000
    for asked in (source, log):
        check_trend(asked, DATABANK, labels, first, last)
        flow = check_flow(asked, DATABANK, labels[first], labels[last], first, last)
    assert sum(flow.classes().to_pydict()["advanced"]) > 0


# --- the check vectors ----------------------------------------------------------------------------------------------

# Events that put a consumer in a stage on the first of June and in another (or none) on the last.
MOVES = {
    ("A", "A"): [("impression", "2024-06-01"), ("impression", "2024-06-30")],
    ("A", "I"): [("impression", "2024-06-01"), ("favorite", "2024-06-29")],
    ("A", "P"): [("impression", "2024-06-01"), ("purchase", "2024-06-29")],
    ("A", "out"): [("impression", "2024-06-01")],
    ("I", "P"): [("favorite", "2024-06-01"), ("purchase", "2024-06-10")],
    ("I", "A"): [("favorite", "2024-06-01"), ("impression", "2024-06-30")],
    ("I", "out"): [("favorite", "2024-06-01")],
    ("P", "L"): [("purchase", "2024-06-01"), ("purchase", "2024-06-10")],
    ("P", "P"): [("purchase", "2024-06-01")],
    ("L", "P"): [("purchase", "2023-06-20"), ("purchase", "2024-05-31")],
    ("out", "A"): [("impression", "2024-06-30")],
    ("out", "I"): [("favorite", "2024-06-30")],
}


def vector() -> aipl.Events:
    people = [*MOVES, ("P", "P")][: len(MOVES)]
    rows = [(f"{start}-{end}", "acme", what, day) for (start, end) in people for what, day in MOVES[start, end]]
    return builders.from_rows(rows)


def test_the_check_vector_of_flow() -> None:
    flow = aipl.flow(vector(), DATABANK, start="2024-06-01", end="2024-06-30", scope="acme")
    assert flow.matrix().columns == ["from_stage", "to_stage", "consumers"]
    found = {row["from_stage"]: [row[name] for name in ("consumers", "kept", "advanced", "regressed", "lost", "new")] for row in flow.classes().to_dicts()}
    assert found == {"A": [4, 1, 2, 0, 1, 0], "I": [3, 0, 1, 1, 1, 0], "P": [2, 1, 1, 0, 0, 0], "L": [1, 0, 0, 1, 0, 0], "out": [2, 0, 0, 0, 0, 2]}
    advanced = flow.class_audience("advanced")
    assert len(advanced) == 4
    assert len(flow.audience(["A", "interest", "P", "L"], "out")) == 2
    assert len(flow.class_audience("lost", from_stage="A")) == 1
    scenes = {row["scene"]: (row["consumers"], row["base"]) for row in flow.scenes().to_dicts()}
    assert scenes == {"acquisition": (2, None), "seeding": (1, 4), "direct_conversion": (1, None), "seeded_conversion": (1, 3), "repurchase": (1, 2)}
    same = flow.scenes(benchmark="acme").to_dicts()[1]
    assert (same["benchmark_percent"], same["difference_percent"], same["difference_consumers"]) == (25.0, 0.0, 0)


def test_flow_within_takes_audiences_of_any_universe() -> None:
    events = vector()
    wanted = aipl.snapshot(events, DATABANK, as_of="2024-06-01").audience("acme", "A")
    for source in (events, events.load()):
        flow = aipl.flow(source, DATABANK, start="2024-06-01", end="2024-06-30", within=wanted)
        assert sum(flow.matrix().to_pydict()["consumers"]) == 4
        assert len(flow.audience("A", ["I", "P"])) == 2
    whole = aipl.flow(events, DATABANK, start="2024-06-01", end="2024-06-30", within=wanted).recipe
    assert whole["within"] and "2024-06-01" in whole["within"]


# --- answers and their edges ----------------------------------------------------------------------------------------


def test_tables_keep_their_columns_and_types() -> None:
    log = builders.from_rows().load()
    asked = {"start": "2024-06-28", "end": "2024-06-30"}
    trend = aipl.trend(log, DATABANK, **asked).to_arrow()
    assert trend.schema.names == ["day", "scope", "stage", "consumers"]
    assert trend.schema.types == [pa.date32(), pa.string(), pa.string(), pa.int64()]
    assert trend.num_rows == 3 * 2 * 4
    flow = aipl.flow(log, DATABANK, **asked)
    assert flow.matrix().columns == ["scope", "from_stage", "to_stage", "consumers"]
    assert flow.rates().columns == ["scope", "from_stage", "to_stage", "consumers", "base", "percent"]
    assert flow.classes().columns == ["scope", "from_stage", "consumers", "kept", "advanced", "regressed", "lost", "new", "returned"]
    assert aipl.history(log, DATABANK, consumer="u4", scope="acme").columns == ["stage", "first_day", "last_day"]
    assert aipl.history(log, DATABANK, consumer="u4").columns == ["scope", "stage", "first_day", "last_day"]
    timeline = aipl.timeline(log, consumer="u1").to_arrow()
    assert timeline.schema.names == ["time", "brand", "behavior"]
    assert timeline.schema.types == [pa.timestamp("us", ZONE), pa.string(), pa.string()]
    for result in (aipl.trend(log, DATABANK, **asked), flow):
        assert result.recipe["unit"] and result.report.rows_total == len(builders.ROWS)


def test_a_timeline_has_every_field_and_full_times() -> None:
    rows = pa.table(
        {
            "user": [7, 7, 7, 8],
            "brand": ["x", "y", "x", "x"],
            "what": ["view", "purchase", "refund", "view"],
            "time": pa.array([3, 1, 2, 0], pa.timestamp("s")).cast(pa.timestamp("ms")),
            "price": pa.array([None, "12.50", "-12.50", None]).cast(pa.decimal128(10, 2)),
            "stars": [None, 4.5, None, 2.0],
            "vip": [True, None, False, True],
            "shop": pa.array(["s1", None, "", "s2"]).dictionary_encode(),
        }
    )
    schema = aipl.EventSchema(
        consumer="user", brand="brand", behavior="what", time="time", amount="price", rating="stars", store="shop", attributes={"vip": "vip"}
    )
    events = aipl.from_arrow(rows, schema, tz="America/New_York")
    for source in (events, events.load()):
        found = aipl.timeline(source, consumer=7)
        assert [str(row["time"]) for row in found.to_dicts()] == [f"1970-01-01 00:00:0{second}-05:00" for second in (1, 2, 3)]
        assert [row["behavior"] for row in found.to_dicts()] == ["purchase", "refund", "view"]
        assert found.to_pydict()["rating"] == [4.5, None, None]
        assert [str(value) for value in found.to_pydict()["amount"][:2]] == ["12.500000", "-12.500000"]
        assert found.to_pydict()["vip"] == [None, False, True]
        assert found.to_pydict()["store"] == [None, "", "s1"]
        assert (found.acts, len(aipl.timeline(source, consumer="7", scope="x"))) == (3, 2)
        nobody = aipl.timeline(source, consumer=9)
        assert (len(nobody), nobody.acts, nobody.columns) == (0, 0, found.columns)
        assert len(aipl.timeline(source, consumer="not a number")) == 0
        assert len(aipl.timeline(source, consumer=7, scope="nothing")) == 0
    assert repr(aipl.timeline(events, consumer=7, scope="x")) == "Timeline(3 acts in all, 2 with 'x')"


def test_a_log_answers_as_its_events_do_and_says_what_it_holds() -> None:
    events = builders.from_rows()
    log = events.load()
    assert builders.labels(log) == builders.labels(events) == builders.STAGES
    info = log.info()
    assert (info["rows"], info["consumers"], info["brands"], info["first_day"], info["last_day"]) == (7, 5, 2, "2024-01-01", "2024-06-30")
    assert info["bytes"] == sum(info["bytes_by_column"].values()) == log.nbytes
    first = aipl.snapshot(log, DATABANK, as_of=AS_OF).audience("acme", "A")
    later = aipl.flow(log, DATABANK, start="2024-06-01", end=AS_OF, scope="zeta").audience("out", "P")
    assert (first | later).ids() == ["u1"]
    assert log.universe.fingerprint == first.universe.fingerprint
    with pytest.raises(aipl.UniverseMismatchError):
        _ = first & aipl.snapshot(events, DATABANK, as_of=AS_OF, scopes=["zeta"]).audience("zeta", "P")


def test_what_was_not_loaded_is_refused_and_unmapped_fields_are_named() -> None:
    table = builders.table().append_column("stars", pa.array([5.0] * len(builders.ROWS)))
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", rating="stars")
    events = aipl.from_arrow(table, schema, tz=ZONE)
    with pytest.raises(aipl.ParameterError, match='columns: the EventSchema maps no "ratng"; did you mean "rating"'):
        events.load(columns=["ratng"])
    with pytest.raises(aipl.ParameterError, match="for one field pass"):
        events.load(columns="rating")
    bare = events.load(columns=[])
    assert bare.info()["fields"] == []
    with pytest.raises(aipl.ParameterError, match='"rating" was not loaded into the log'):
        aipl.snapshot(bare, DATABANK, as_of=AS_OF)
    assert builders.labels(events.load(columns=["rating"])) == builders.labels(events)


def test_rejected_rows_are_told_once_and_an_empty_source_gives_empty_answers() -> None:
    rows = [*builders.ROWS, ("u9", None, "view", "2024-06-30"), (None, "acme", "view", "2024-06-30"), ("u9", "acme", "veiw", "2024-06-30")]
    with pytest.warns(aipl.RejectedRowsWarning, match="3 rows rejected"):
        log = builders.from_rows(rows).load()
    assert log.info()["rejected"] == {"unknown_behavior": 1, "null_consumer": 1, "null_brand": 1}
    assert builders.labels(log) == builders.STAGES
    with pytest.raises(aipl.RejectedRowsError):
        builders.from_rows(rows, on_error="raise").load()
    none = builders.from_rows([]).load()
    assert (len(none), none.info()["first_day"]) == (0, None)
    assert len(aipl.trend(none, DATABANK, start=AS_OF, end=AS_OF)) == 0
    assert len(aipl.flow(none, DATABANK, start="2024-06-01", end=AS_OF).matrix()) == 0
    assert len(aipl.flow(none, DATABANK, start="2024-06-01", end=AS_OF, scope="acme").matrix()) == 24


def test_ranges_before_across_and_after_the_data() -> None:
    events = builders.from_rows()
    for source in (events, events.load()):
        assert table_of(aipl.trend(source, DATABANK, start="2023-01-01", end="2023-01-31")) == {}
        assert set(table_of(aipl.trend(source, DATABANK, start="2030-01-01", end="2030-01-02"))) == set()
        one = aipl.trend(source, DATABANK, start=AS_OF, end=AS_OF)
        assert sum(one.to_pydict()["consumers"]) == len(builders.STAGES)
        leap = aipl.trend(source, DATABANK, start="2024-02-28", end="2024-03-01")
        assert sorted({str(day) for day in leap.to_pydict()["day"]}) == ["2024-02-28", "2024-02-29", "2024-03-01"]
        with pytest.raises(aipl.ParameterError, match="end: 2024-06-29 is before start 2024-06-30"):
            aipl.trend(source, DATABANK, start="2024-06-30", end="2024-06-29")
        with pytest.raises(aipl.ParameterError, match="end: 2024-06-29 is before start"):
            aipl.flow(source, DATABANK, start="2024-06-30", end="2024-06-29")
        with pytest.raises(aipl.ParameterError, match="two days"):
            aipl.flow(source, DATABANK, start=AS_OF, end=AS_OF)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"])
def test_days_weeks_and_months_end_on_the_wall(zone: str) -> None:
    # Half an hour before and after midnight at the end of a week, a month, and the two changes of the clock in New York.
    ends = ["2024-03-09", "2024-03-10", "2024-03-31", "2024-11-02", "2024-11-03", "2024-11-30"]
    rows = [(f"u{at}", "acme", "impression", f"{day} 23:30:00") for at, day in enumerate(ends)]
    events = aipl.from_arrow(builders.table(rows), builders.SCHEMA, tz=zone)
    zoned = builders.table(rows).set_column(3, "time", pa.compute.assume_timezone(builders.table(rows)["time"], zone))
    for source in (events, events.load(), aipl.from_arrow(zoned, builders.SCHEMA, tz=zone).load()):
        entries = aipl.trend(source, DATABANK, start="2024-03-01", end="2024-12-31", measure="entries")
        assert sorted(str(key[0]) for key in table_of(entries)) == ends
        months = aipl.trend(source, DATABANK, start="2024-03-01", end="2024-12-31", measure="entries", step="month")
        assert {(str(key[0]), count) for key, count in table_of(months).items()} == {("2024-03-31", 3), ("2024-11-30", 3)}
        weeks = aipl.trend(source, DATABANK, start="2024-03-01", end="2024-12-31", measure="entries", step="week")
        assert {(str(key[0]), count) for key, count in table_of(weeks).items()} == {
            ("2024-03-10", 2), ("2024-03-31", 1), ("2024-11-03", 2), ("2024-12-01", 1),
        }  # fmt: skip


def test_refusals_name_the_choices() -> None:
    log = builders.from_rows().load()
    asked = {"start": "2024-06-01", "end": "2024-06-30"}
    with pytest.raises(aipl.ParameterError, match="step: 'weeks' is not one of 'day', 'week', 'month'; did you mean 'week'"):
        aipl.trend(log, DATABANK, **asked, step="weeks")
    with pytest.raises(aipl.ParameterError, match="measure: 'entry' is not one of"):
        aipl.trend(log, DATABANK, **asked, measure="entry")
    with pytest.raises(aipl.ParameterError, match="mode"):
        aipl.flow(log, DATABANK, **asked, mode="top")
    flow = aipl.flow(log, DATABANK, **asked)
    with pytest.raises(aipl.ParameterError, match="scope: the flow has 2 scopes; name one"):
        flow.audience("A", "I")
    with pytest.raises(aipl.ParameterError, match="Q"):
        flow.audience("Q", "I", scope="acme")
    with pytest.raises(aipl.ParameterError, match="who is out on both days"):
        flow.audience("out", "out", scope="acme")
    with pytest.raises(aipl.ParameterError, match="name: 'newer' is not one of"):
        flow.class_audience("newer", scope="acme")
    with pytest.raises(TypeError, match="within: an Audience is needed"):
        aipl.flow(log, DATABANK, **asked, within=["u1"])  # type: ignore[arg-type]
    with pytest.raises(aipl.ParameterError, match="days: at least two different days"):
        aipl.flow_triangle(log, DATABANK, days=["2024-06-01", "2024-06-01"])
    with pytest.raises(TypeError, match="source: Events"):
        aipl.trend(builders.table(), DATABANK, **asked)  # type: ignore[arg-type]
    with pytest.raises(aipl.ParameterError, match='by: "chanel" is not a mapped label field'):
        aipl.transition_drivers(log, DATABANK, **asked, scope="acme", from_stage="A", to_stage="I", by="chanel")
    with pytest.raises(aipl.ParameterError, match="to_stage"):
        aipl.transition_drivers(log, DATABANK, **asked, scope="acme", from_stage="A", to_stage="A", by="behavior")


def test_drivers_compare_movers_with_stayers() -> None:
    rows = []
    # Forty are aware on 1 June. Ten see live and then buy the same day; five buy untouched; five see live and stay; others see nothing.
    for at in range(40):
        rows.append((f"u{at:02}", "acme", "impression", "2024-05-31", None))
        if at < 10:
            rows += [(f"u{at:02}", "acme", "impression", "2024-06-05 10:00:00", "live"), (f"u{at:02}", "acme", "purchase", "2024-06-05 11:00:00", None)]
            rows.append((f"u{at:02}", "acme", "impression", "2024-06-06", "after"))
        elif at < 15:
            rows.append((f"u{at:02}", "acme", "purchase", "2024-06-07", "shop"))
        elif at < 20:
            rows.append((f"u{at:02}", "acme", "impression", "2024-06-05", "live"))
    names = ("user", "brand", "action", "time", "touchpoint")
    table = pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", touchpoint="touchpoint")
    events = aipl.from_arrow(table, schema, tz=ZONE)
    for source in (events, events.load()):
        found = aipl.transition_drivers(source, DATABANK, start="2024-06-01", end="2024-06-10", scope="acme", from_stage="A", to_stage=["P", "L"])
        rows_ = {row["value"]: row for row in found.to_dicts()}
        live = rows_["live"]
        assert (live["movers"], live["stayers"], live["movers_total"], live["stayers_total"]) == (10, 5, 15, 25)
        assert live["mover_percent"] == pytest.approx(200 / 3) and live["stayer_percent"] == 20
        assert live["rate_with"] == pytest.approx(200 / 3) and live["rate_without"] == 20
        assert live["lift"] == pytest.approx(10 / 3) and live["tgi"] == pytest.approx(1000 / 3)
        assert live["tgi_low"] < live["tgi"] < live["tgi_high"]
        assert (live["last_touch"], live["last_touch_percent"]) == (10, pytest.approx(200 / 3))
        # The purchase that moved them bears a touchpoint itself: that is the move, and not a touch before it.
        assert (rows_["shop"]["movers"], rows_["shop"]["last_touch"]) == (5, 0)
        assert rows_["after"]["last_touch"] == 0 and rows_["after"]["lift"] is not None and rows_["after"]["tgi"] is None
        assert all(row["small"] for row in rows_.values())
        assert "association" in found.recipe["source_of_figures"]
    lost = aipl.transition_drivers(events, DATABANK, start="2024-06-01", end="2024-06-20", scope="acme", from_stage="A", to_stage="out", by="behavior")
    assert {row["value"]: row["movers"] for row in lost.to_dicts()} == {"impression": 0 + 5, "purchase": 0}


# --- what a review found ----------------------------------------------------------------------------------------------

DRIVEN = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", touchpoint="touchpoint", item="item", store="store")


def driven(rows: list[tuple[Any, ...]], **options: Any) -> aipl.Events:
    """Events of brand x: user, action, time, touchpoint and, where given, item and store."""
    full = [(*row, *(None,) * (6 - len(row))) for row in rows]
    table = pa.table(
        {
            "user": [row[0] for row in full],
            "brand": ["x"] * len(full),
            "action": [row[1] for row in full],
            "time": pa.array([row[2] for row in full]).cast(pa.timestamp("us")),
            "touchpoint": pa.array([row[3] for row in full], pa.string()),
            "item": pa.array([row[4] for row in full], pa.int64()),
            "store": pa.array([row[5] for row in full], pa.string()),
        }
    )
    return aipl.from_arrow(table, DRIVEN, tz="UTC", **options)


def drivers(source: Any, to_stage: str = "P", by: str = "touchpoint", scope: str = "x", model: aipl.StageModel = DATABANK) -> dict[str, dict[str, Any]]:
    found = aipl.transition_drivers(source, model, start="2024-06-03", end="2024-06-10", scope=scope, from_stage="A", to_stage=to_stage, by=by)
    return {row["value"]: row for row in found.to_dicts()}


def test_a_consumer_counts_once_for_a_number_seen_often() -> None:
    rows = [("m", "impression", "2024-06-01", None), ("m", "purchase", "2024-06-08", None, 9), ("s", "impression", "2024-06-01", None)]
    rows += [(who, "impression", f"2024-06-0{day}", None, item) for who, day, item in [("m", 5, 5), ("m", 6, 5), ("m", 6, 7), ("s", 4, 5), ("s", 5, 5)]]
    events = driven(rows)
    for source in (events, events.load()):
        found = drivers(source, by="item")
        assert (found["5"]["movers"], found["5"]["stayers"], found["5"]["mover_percent"]) == (1, 1, 100.0)
        assert (found["7"]["movers"], found["9"]["last_touch"]) == (1, 0)


def test_the_last_touch_does_not_depend_on_what_was_loaded() -> None:
    rows = [("m", "impression", "2024-06-01", None), ("m", "impression", "2024-06-05", "b", 1), ("m", "impression", "2024-06-05", "a", 2)]
    events = driven([*rows, ("m", "purchase", "2024-06-06", None)])
    for source in (events, events.load(), events.load(columns=["touchpoint"])):
        assert {value: row["last_touch"] for value, row in drivers(source).items()} == {"a": 0, "b": 1}


@pytest.mark.parametrize("moving", ["member_join", "follow", "favorite"])
def test_a_touch_at_the_instant_of_the_move_comes_before_it(moving: str) -> None:
    events = driven([("m", "impression", "2024-06-01", None), ("m", "impression", "2024-06-05", "feed"), ("m", moving, "2024-06-05", None)])
    assert drivers(events, "I")["feed"]["last_touch"] == 1


def test_where_no_event_moves_the_last_touch_is_that_of_the_day() -> None:
    events = driven([("m", "impression", "2024-05-25", None), ("m", "refund", "2024-06-05", "mail"), ("m", "refund", "2024-06-09", "call")])
    found = drivers(events, "out")
    assert (found["mail"]["last_touch"], found["call"]["last_touch"]) == (0, 1)
    joined = pa.table({"user": ["m"], "brand": ["x"], "state": ["member"], "from": ["2024-06-05"], "to": pa.array([None], pa.string())})
    events = driven([("m", "impression", "2024-05-31", None), ("m", "refund", "2024-06-04", "mail"), ("m", "refund", "2024-06-05", "call")])
    found = drivers(events.with_states(joined, consumer="user", scope="brand"), "I")
    assert (found["mail"]["last_touch"], found["call"]["last_touch"]) == (0, 1)


def test_columns_of_unsigned_numbers_become_python_numbers() -> None:
    table = builders.table().append_column("many", pa.array([2**64 - 1] * len(builders.ROWS), pa.uint64()))
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", attributes={"many": "many"})
    found = aipl.timeline(aipl.from_arrow(table, schema, tz=ZONE).load(), consumer="u2")
    assert found.to_dicts()[0]["many"] == 2**64 - 1
    assert str(2**64 - 1) in found._repr_html_()


def test_a_log_keeps_its_word_about_rejected_rows() -> None:
    rows = [("m", "impression", "2024-06-01", None, 1, "s" * 300), ("n", "impression", "2024-06-01", None, 1, "s1")]
    model = aipl.StageModel.from_dict({**DATABANK.to_dict(), "scope": "store"})
    asked = {"start": "2024-06-01", "end": "2024-06-02"}
    events, raising = driven(rows), driven(rows, on_error="raise")
    for source in (raising, raising.load()):
        with pytest.raises(aipl.RejectedRowsError, match="id_too_long"):
            aipl.trend(source, model, **asked)
    with pytest.warns(aipl.RejectedRowsWarning):
        assert len(aipl.trend(events.load(), model, **asked)) == 8


def test_tables_that_arrow_cannot_hold_are_refused() -> None:
    rows = [(f"u{at}", f"{at:02}" + "n" * 190, "impression", "2024-06-01") for at in range(35)]
    with pytest.raises(aipl.ParameterError, match="over 2 GiB"):
        aipl.trend(builders.from_rows(rows), DATABANK, start="1970-01-01", end="2199-12-31")
