"""Stages of a day: the check vectors of the definitions, the naive twin on random models and logs, and two real logs."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aipl
import builders
import naive
import pyarrow as pa
import pytest

AS_OF = builders.AS_OF


def ago(days: int) -> str:
    return (AS_OF - dt.timedelta(days=days)).isoformat()


# What one consumer did, as (action, days before), and the stage that it leads to.
CHECK_VECTORS = [
    ([("impression", 14)], "A"),
    ([("impression", 15)], None),
    ([("view", 3), ("view", 3)], "A"),
    ([("view", 3), ("view", 6)], "I"),
    ([("view", 0), ("view", 14)], "I"),
    ([("view", 0), ("view", 15)], "A"),
    ([("favorite", 14)], "I"),
    ([("favorite", 15)], None),
    ([("member_join", 400)], "I"),
    ([("member_join", 400), ("member_leave", 366)], None),
    ([("member_join", 30), ("member_leave", 30)], None),
    ([("follow", 3000)], "I"),
    ([("purchase", 3), ("purchase", 3)], "P"),
    ([("purchase", 0), ("purchase", 364)], "L"),
    ([("purchase", 0), ("purchase", 365)], "P"),
    ([("purchase", 909)], "P"),
    ([("purchase", 910)], None),
    ([("purchase", -1)], None),
    ([("impression", 0), ("purchase", -1)], "A"),
    ([("purchase", 3), ("favorite", 0), ("impression", 0)], "P"),
    ([("purchase", 3), ("refund", 2)], "P"),
    ([("refund", 2)], None),
]


def test_check_vectors() -> None:
    rows = [(f"u{at:02}", "b", action, ago(days)) for at, (acts, _) in enumerate(CHECK_VECTORS) for action, days in acts]
    expected = {(f"u{at:02}", "b"): stage for at, (_, stage) in enumerate(CHECK_VECTORS) if stage}
    assert builders.labels(builders.from_rows(rows)) == expected


def test_reviews_count_by_rating() -> None:
    ratings = [4.0, 3.999999, None, 5, 4]
    table = builders.table([(f"u{at}", "b", "review", ago(364 + (at == 4))) for at in range(5)])
    events = aipl.from_arrow(
        table.append_column("stars", pa.array(ratings, pa.float64())),
        aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", rating="stars"),
        tz="UTC",
    )
    assert builders.labels(events) == {("u0", "b"): "L", ("u3", "b"): "L"}


@pytest.mark.parametrize(
    ("as_of", "error", "message"),
    [
        (dt.datetime(2024, 6, 30), aipl.ParameterError, "as_of: a day is needed, not a time"),
        ("2024-6-30", aipl.ParameterError, "YYYY-MM-DD"),
        ("2024-02-30", aipl.ParameterError, "YYYY-MM-DD"),
        ("2200-01-01", aipl.ParameterError, "outside"),
        (20240630, TypeError, "as_of: a datetime.date"),
        (None, TypeError, "as_of"),
    ],
)
def test_days_are_checked(as_of: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of=as_of)


def test_arguments_are_checked() -> None:
    events, model = builders.from_rows(), builders.DATABANK
    with pytest.raises(TypeError, match=r"model: a StageModel is needed, not str; use StageModel.preset\('databank'\)"):
        aipl.snapshot(events, "databank", as_of=AS_OF)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="source: Events"):
        aipl.snapshot(builders.table(), model, as_of=AS_OF)  # type: ignore[arg-type]
    with pytest.raises(aipl.ParameterError, match=r"for one scope pass \['acme'\]"):
        aipl.snapshot(events, model, as_of=AS_OF, scopes="acme")
    for scopes, error in [([1.5], TypeError), ([("a", "b", "c")], aipl.ParameterError), ([("a", "b")], aipl.ParameterError), (5.5, TypeError)]:
        with pytest.raises(error, match="scope"):
            aipl.snapshot(events, model, as_of=AS_OF, scopes=scopes)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        aipl.snapshot(events, model, AS_OF)  # type: ignore[misc]
    snap = aipl.snapshot(events, model, as_of=AS_OF)
    with pytest.raises(aipl.ParameterError, match='no scope "acmee" in this snapshot; did you mean "acme"'):
        snap.audience("acmee", "P")
    with pytest.raises(aipl.ParameterError, match=r'no stage "purchse".*P \(purchase\)'):
        snap.audience("acme", "purchse")
    with pytest.raises(TypeError, match="stage: a str is needed"):
        snap.audience("acme", 2)  # type: ignore[arg-type]
    with pytest.raises(aipl.ModelError, match="category"):
        category = aipl.StageModel.from_dict({**model.to_dict(), "scope": "category"})
        aipl.snapshot(events, category, as_of=AS_OF)


def test_counts_have_every_stage_and_only_live_scopes() -> None:
    snap = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of=AS_OF)
    assert [tuple(row.values()) for row in snap.counts().to_dicts()] == [
        ("acme", "A", 1), ("acme", "I", 1), ("acme", "P", 1), ("acme", "L", 1),
        ("zeta", "A", 0), ("zeta", "I", 0), ("zeta", "P", 1), ("zeta", "L", 0),
    ]  # fmt: skip
    assert (snap.scopes, snap.as_of, snap.model, len(snap.universe)) == (["acme", "zeta"], AS_OF, builders.DATABANK, 4)
    named = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of=AS_OF, scopes=["zeta", "nobody"])
    assert named.scopes == ["nobody", "zeta"] and len(named.labels()) == 1
    assert named.labels("zeta").to_dicts() == [{"consumer": "u1", "scope": "zeta", "stage": "P"}]
    assert len(named.labels("nobody")) == 0 == len(named.audience("nobody", "A"))


def test_empty_events_give_an_empty_answer() -> None:
    snap = aipl.snapshot(builders.from_rows([]), builders.DATABANK, as_of=AS_OF)
    assert len(snap.counts()) == len(snap.labels()) == len(snap.scopes) == len(snap.universe) == 0
    assert snap.labels().to_arrow().column_names == ["consumer", "scope", "stage"]
    assert snap.labels().to_polars().height == 0 and repr(snap).startswith("Snapshot(")


def test_integer_scopes_and_ids_come_back_as_integers() -> None:
    rows = [(7, 30, "purchase", ago(1)), (-8, 4, "view", ago(1))]
    table = builders.table([(user, str(brand), action, day) for user, brand, action, day in rows])
    table = table.set_column(1, "brand", table["brand"].cast(pa.int16()))
    snap = aipl.snapshot(aipl.from_arrow(table, builders.SCHEMA, tz="UTC"), builders.DATABANK, as_of=AS_OF)
    assert snap.scopes == [4, 30] and snap.counts().to_arrow().schema.field("scope").type == pa.int64()
    assert snap.labels().to_dicts() == [{"consumer": -8, "scope": 4, "stage": "A"}, {"consumer": 7, "scope": 30, "stage": "P"}]
    assert snap.audience("30", "P").ids() == snap.audience(30, "购买").ids() == [7]


# --- the naive twin on random models and logs -------------------------------------------------------------------------

BEHAVIORS = ["view", "click", "search", "favorite", "purchase", "review", "member_join", "member_leave", "follow", "unfollow"]
CITIES = ["Shanghai", "Chengdu", "Xi'an"]


def random_leaf(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.15:
        return {"state": rng.choice(["member", "fan", "vip"])}
    leaf: dict[str, Any] = {"behaviors": rng.sample(BEHAVIORS, rng.randint(1, 4))}
    if rng.random() < 0.8:
        leaf["days"] = rng.choice([1, 2, 7, 15, 30, 365])
    count = rng.choice(["events", "events", "distinct_days", "distinct_orders", "sum"])
    if count != "events":
        leaf["count"] = count
    if count == "sum":
        leaf |= {"of": rng.choice(["amount", "points"]), "min": rng.choice([0, 1, 10.5, 30, -5])}
        if rng.random() < 0.4:
            leaf["max"] = leaf["min"] + rng.choice([0, 20.25, 50])
    else:
        if rng.random() < 0.5:
            leaf["min"] = rng.randint(1, 4)
        if rng.random() < 0.3:
            leaf["max"] = leaf.get("min", 1) + rng.randint(0, 3)
    if rng.random() < 0.35:
        leaf["where"] = rng.choice(
            [
                {"city": rng.choice(CITIES)},
                {"city": rng.sample(CITIES, 2)},
                {"city": {"ne": "Chengdu"}},
                {"amount": {"ge": 10, "lt": 60.5}},
                {"rating": {"gt": 3}, "city": "Shanghai"},
                {"points": {"le": 5}},
            ]
        )
    return leaf


def random_rule(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return random_leaf(rng)
    if kind < 0.65:
        return {"not": random_rule(rng, depth - 1)}
    return {rng.choice(["any", "all"]): [random_rule(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def random_model(rng: random.Random) -> dict[str, Any]:
    stages = []
    for at in range(rng.randint(2, 6)):
        key = rng.choice(["any", "any", "all", "not"])
        rule: Any = random_rule(rng, 2) if key == "not" else [random_rule(rng, 2) for _ in range(rng.randint(1, 3))]
        stages.append({"code": f"S{at}", "name": f"stage {at}", key: rule})
    scope = rng.choice(["brand", "brand", "category", "store"])
    model = {"id": "random", "version": 1, "scope": scope, "stage": stages}
    if scope == "category" and rng.random() < 0.5:
        model["brand_wide_touchpoints"] = ["poster"]
    return model


def random_events(rng: random.Random, count: int, stores: list[str | None]) -> list[dict[str, Any]]:
    events = []
    for at in range(count):
        day = AS_OF - dt.timedelta(days=rng.choice([-2, -1, 0, 0, 1, 2, 6, 7, 8, 14, 15, 29, 30, 100, 364, 365, 500]))
        seconds = rng.choice([0, 1, 43_200, 86_399])
        events.append(
            {
                "consumer": rng.choice([f"u{number}" for number in range(12)]),
                "brand": rng.choice(["x", "y"]),
                "category": rng.choice([None, "c1", "c2", ""]),
                "store": rng.choice(stores),
                "touchpoint": rng.choice([None, "live", "poster", "own"]),
                "behavior": rng.choice(BEHAVIORS),
                "day": day,
                "order": seconds,
                "order_id": rng.choice([None, "o1", "o2", "o3"]),
                "event_id": None if rng.random() < 0.5 else f"e{at}",
                "amount": rng.choice([None, 0.1, 10, 20.25, 60.5, -3]),
                "points": rng.choice([None, 1, 5, 6]),
                "rating": rng.choice([None, 3, 3.5, 5]),
                "city": rng.choice([None, *CITIES]),
            }
        )
    # Some events arrive twice.
    return events + [dict(event) for event in rng.sample(events, count // 10) if event["event_id"]]


def as_arrow(events: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [event[name] for event in events] for name in events[0] if name not in ("day", "order")}
    columns["time"] = pa.array([dt.datetime.combine(e["day"], dt.time()) + dt.timedelta(seconds=e["order"]) for e in events], pa.timestamp("us"))
    for name in ("amount", "rating"):
        columns[name] = pa.array([None if value is None else float(value) for value in columns[name]], pa.float64())
    return pa.table(columns)


FULL = aipl.EventSchema(
    consumer="consumer", brand="brand", behavior="behavior", time="time", category="category", store="store", touchpoint="touchpoint",
    order_id="order_id", event_id="event_id", amount="amount", rating="rating", city="city", attributes={"points": "points"},
)  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_random_models_equal_the_naive_twin(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        model = random_model(rng)
        # A row without a store is rejected by a model of stores, so those logs have one in every row.
        events = random_events(rng, rng.choice([5, 60, 300]), ["s1", "s2"] if model["scope"] == "store" else ["s1", None])
        source = aipl.from_arrow(as_arrow(events), FULL, tz=builders.ZONE)
        states = []
        if rng.random() < 0.5:
            source, states = with_random_states(rng, source, model["scope"])
        labels = aipl.snapshot(source, aipl.StageModel.from_dict(model), as_of=AS_OF)
        assert found(labels, model["scope"]) == naive.snapshot(model, events, AS_OF, states), (seed, model)


def found(snap: aipl.Snapshot, scope: str) -> dict[tuple[Any, Any], str]:
    rows = snap.labels().to_dicts()
    split = (lambda text: tuple(text.split("/"))) if scope == "category" else (lambda text: text)
    return {(row["consumer"], split(row["scope"])): row["stage"] for row in rows}


def with_random_states(rng: random.Random, source: aipl.Events, scope: str) -> tuple[aipl.Events, list[tuple[Any, ...]]]:
    names = {"brand": ["x", "y", "z"], "store": ["s1", "s2"], "category": [("x", "c1"), ("y", "c2")]}[scope]
    states = []
    for _ in range(rng.randint(1, 12)):
        first = AS_OF - dt.timedelta(days=rng.choice([-3, 0, 1, 30, 400]))
        last = None if rng.random() < 0.4 else first + dt.timedelta(days=rng.choice([0, 1, 29, 500]))
        states.append((rng.choice(["u1", "u2", "u3", "new"]), rng.choice(names), rng.choice(["member", "fan", "vip"]), first, last))
    columns = ["brand", "category"] if scope == "category" else [scope]
    table = pa.table(
        {
            "consumer": [state[0] for state in states],
            **{column: [state[1] if len(columns) == 1 else state[1][at] for state in states] for at, column in enumerate(columns)},
            "state": [state[2] for state in states],
            "from": pa.array([state[3] for state in states], pa.date32()),
            "to": pa.array([state[4] for state in states], pa.date32()),
        }
    )
    return source.with_states(table, consumer="consumer", scope=columns if scope == "category" else scope), states


def test_state_tables_are_checked() -> None:
    events = builders.from_rows()
    table = pa.table({"user": ["u1"], "brand": ["acme"], "state": ["member"], "from": ["2024-07-01"], "to": ["2024-06-01"]})
    with pytest.raises(aipl.ColumnNotFoundError, match='state table: no column "usr".*did you mean "user"'):
        events.with_states(table, consumer="usr", scope="brand")
    with pytest.raises(aipl.ColumnNotFoundError):
        events.with_states(table.slice(0, 0), consumer="usr", scope="brand")
    with pytest.raises(TypeError, match="table: an object that exports an Arrow stream"):
        events.with_states([1], consumer="user", scope="brand")
    with pytest.raises(aipl.ParameterError, match="one column or two"):
        events.with_states(table, consumer="user", scope=[])
    with pytest.warns(aipl.RejectedRowsWarning, match="reversed_period 1"):
        snap = aipl.snapshot(events.with_states(table, consumer="user", scope="brand"), builders.DATABANK, as_of=AS_OF)
    assert len(snap.labels()) == 5


# --- real logs ------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("preset", ["databank", "uni_marketing", "quick_audience", "databank_540"])
def test_tmall_log_equals_the_naive_twin(shared_data: Callable[[str], Path], preset: str) -> None:
    path = shared_data("tmall_2014_events.csv")
    meanings = {"0": "view", "1": "purchase", "2": "favorite", "3": "add_to_cart"}
    raw = read(path)
    days = [dt.date(2014, *map(int, row["visit_datetime"].split("-"))) for row in raw]
    table = pa.table(
        {"user": [int(row["user_id"]) for row in raw], "brand": [int(row["brand_id"]) for row in raw],
         "type": pa.array([int(row["type"]) for row in raw], pa.int8()), "day": pa.array(days, pa.date32())}
    )  # fmt: skip
    assert (len(raw), len({row["user_id"] for row in raw}), len({row["brand_id"] for row in raw})) == (182_880, 884, 9_531)
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="type", time="day", behaviors={int(k): v for k, v in meanings.items()})
    model = aipl.StageModel.preset(preset)
    as_of = dt.date(2014, 8, 1)
    events = [
        {"consumer": int(row["user_id"]), "brand": int(row["brand_id"]), "behavior": meanings[row["type"]], "day": day, "order": 0}
        for row, day in zip(raw, days, strict=True)
    ]
    expected = naive.snapshot(model.to_dict(), events, as_of)
    assert builders.labels(aipl.from_arrow(table, schema, tz="Asia/Shanghai"), model, as_of) == expected
    assert len(expected) > 1000


def test_jd_log_gives_the_published_figures(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("jd_2018_events.csv")
    behaviors = {"PageView": "view", "Order": "purchase", "Follow": "follow", "Comment": "comment", "SavedCart": "add_to_cart"}
    schema = aipl.EventSchema(consumer="customer_id", brand="category", behavior="type", time="action_time", behaviors=behaviors)
    events = aipl.scan_csv(path, schema, tz="Asia/Shanghai")

    def people(rule: dict[str, Any]) -> set[str]:
        stages = [{"code": "O", "name": "other", "any": [{"behaviors": ["refund"]}]}, {"code": "X", "name": "asked", "any": [rule]}]
        model = aipl.StageModel.from_dict({"id": "one", "version": 1, "scope": "brand", "stage": stages})
        labels = aipl.snapshot(events, model, as_of="2018-04-15").labels().to_dicts()
        return {row["consumer"] for row in labels}

    assert len(people({"behaviors": ["purchase"], "days": 7})) == 1_070
    rows = [(row["customer_id"], row["type"], dt.date.fromisoformat(row["action_time"][:10])) for row in read(path)]
    assert people({"behaviors": ["purchase"], "days": 15}) == {who for who, what, _ in rows if what == "Order"}
    assert people({"behaviors": ["add_to_cart"], "days": 7}) == {
        who for who, what, day in rows if what == "SavedCart" and day > dt.date(2018, 4, 8)
    }
    report = events.validate()
    assert (report.rows_total, report.rows_kept, report.rows_rejected) == (35_222, 35_222, 0)
