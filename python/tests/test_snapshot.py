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
import random_logs

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
    with pytest.raises(aipl.ParameterError, match='no scope "acmee" in this answer; did you mean "acme"'):
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

@pytest.mark.parametrize("seed", range(60))
def test_random_models_equal_the_naive_twin(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        model = random_logs.random_model(rng)
        # A row without a store is rejected by a model of stores, so those logs have one in every row.
        events = random_logs.random_events(rng, rng.choice([5, 60, 300]), ["s1", "s2"] if model["scope"] == "store" else ["s1", None])
        source = aipl.from_arrow(random_logs.as_arrow(events), random_logs.FULL, tz=builders.ZONE)
        states = []
        if rng.random() < 0.5:
            source, states = random_logs.with_random_states(rng, source, model["scope"])
        labels = aipl.snapshot(source, aipl.StageModel.from_dict(model), as_of=AS_OF)
        assert found(labels, model["scope"]) == naive.snapshot(model, events, AS_OF, states), (seed, model)


def found(snap: aipl.Snapshot, scope: str) -> dict[tuple[Any, Any], str]:
    rows = snap.labels().to_dicts()
    split = (lambda text: tuple(text.split("/"))) if scope == "category" else (lambda text: text)
    return {(row["consumer"], split(row["scope"])): row["stage"] for row in rows}


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
