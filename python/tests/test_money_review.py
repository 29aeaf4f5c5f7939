"""Money analyses: what a reader with fresh eyes found."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import aipl
import pyarrow as pa
import pytest
from builders import AS_OF, ZONE
from random_money import SCHEMA, rows_of

JUNE = (dt.date(2024, 6, 1), AS_OF)
SPAN: dict[str, Any] = {"start": JUNE[0], "end": AS_OF}
SPLIT: dict[str, Any] = {"period0": (dt.date(2024, 5, 1), dt.date(2024, 5, 31)), "period1": JUNE}


def test_named_brands_that_nothing_was_bought_of() -> None:
    source = rows_of(("u1", "purchase", "2024-06-02", 10, "o1", "c1"))
    brand = aipl.gmv_aac(source, **SPAN).to_dicts()[0]["scope"]
    for table in (
        aipl.penetration(source, period=JUNE, scopes=[brand, "nobody"]),
        aipl.grow_opportunity(source, period=JUNE, scopes=[brand, "nobody"], panel=[brand, "nobody"]),
    ):
        assert {row["scope"] for row in table.to_dicts()} == {brand}
        assert any("nobody" in note for note in table.report.notes)


def test_a_name_of_the_tables_own_columns_is_refused() -> None:
    tags = aipl.attributes(pa.table({"user": ["u1"], "price": ["low"]}), consumer="user")
    with pytest.raises(aipl.ParameterError, match="price"):
        aipl.grow(rows_of(("u1", "purchase", "2024-06-02", 10, "o1")), **SPLIT, by="price", attributes=tags)


def test_a_discount_is_a_measure() -> None:
    source = rows_of(("u1", "purchase", "2024-06-02", 10, "o1", "c1", "app"))
    for label in ("channel", "order_id", "brand", "nothing"):
        with pytest.raises(aipl.ParameterError, match="discount"):
            aipl.benefits(source, **SPAN, used="purchase", discount=label)


def test_people_of_an_older_answer_of_a_bank_are_refused(tmp_path: Path) -> None:
    bought = rows_of(("u1", "purchase", "2024-06-02", 10, "o1"))
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz=ZONE)
    bank.ingest(bought, batch_id="a")
    answer = aipl.aac_bridge(bank, **SPAN)
    assert answer.audience("x", "end").ids() == ["u1"]
    bank.ingest(rows_of(("u2", "purchase", "2024-06-03", 10, "o2")), batch_id="b")
    with pytest.raises(aipl.ParameterError, match="gone on"):
        answer.audience("x", "end")


def test_a_value_that_is_not_there_is_refused_with_the_choices() -> None:
    source = rows_of(("u1", "purchase", "2024-06-02", 10, "o1", "tea", "app"), ("u2", "purchase", "2024-06-03", 10, "o2", "milk", "app"))
    table = aipl.crosstab(source, rows="category", columns="channel")
    assert (table.audience("tea").ids(), table.audience(column="app").ids(), len(table.audience())) == (["u1"], ["u1", "u2"], 2)
    people = aipl.aac_bridge(source, **SPAN).audience("x", "end")
    for refused, ask in (
        ('row: "tee" .*did you mean "tea".; values: milk, tea', lambda: table.audience("tee", "app")),
        ('column: "shop" is not a value', lambda: table.audience("tea", "shop")),
        ('category: "tee"', lambda: aipl.penetration(source, period=JUNE).audience("tee")),
        ("category: a brand is named", lambda: aipl.penetration(source, period=JUNE).audience(scope="x")),
        ('values: "tee"', lambda: aipl.grow(source, **SPLIT, by="category").audience("x", "buyers_after", "tee")),
        ('value: "tee"', lambda: aipl.profile(source, people, by="category").audience("category", "tee")),
        ("who: 'all'", lambda: aipl.profile(source, people, by="category").audience("category", "tea", who="all")),
        ("period: 2 is not from 0 to 0", lambda: aipl.retention(source, **SPAN).audience("x", JUNE[0], 2)),
        (r"scheme\['frequency'\]\[1\]", lambda: aipl.rfm(source, as_of=AS_OF, scheme={"recency": 1, "frequency": [1, 2.5], "monetary": 1})),
    ):
        with pytest.raises((aipl.ParameterError, TypeError), match=refused):
            ask()


def test_a_word_of_a_table_is_no_stage() -> None:
    source = rows_of(("u1", "purchase", "2024-06-02", 10, "o1"))
    people = aipl.aac_bridge(source, **SPAN).audience("x", "end")

    def model(code: str) -> aipl.StageModel:
        stages = [{"code": name, "name": f"stage {name}", "any": [{"behaviors": ["purchase"]}]} for name in ("first", code)]
        return aipl.StageModel.from_dict({"id": "odd", "version": 1, "scope": "brand", "stage": stages})

    with pytest.raises(aipl.ParameterError, match='model: "active" is a stage of the model'):
        aipl.concentration(source, model("active"), people, **SPAN)
    for word in ("bought", "in_chain"):
        with pytest.raises(aipl.ParameterError, match=f'model: "{word}" is a stage of the model'):
            aipl.cohort_track(source, model(word), people, days=[AS_OF])
    table = aipl.cohort_track(source, aipl.StageModel.preset("databank"), people, days=[AS_OF])
    with pytest.raises(aipl.ParameterError, match='who: no stage "bougt".*; or in_chain, bought, out'):
        table.audience("x", AS_OF, "bougt")
    with pytest.raises(aipl.ParameterError, match="day: 2024-06-29 is not one of the days of this answer: 2024-06-30"):
        table.audience("x", AS_OF - dt.timedelta(days=1), "bought")


def test_customers_are_new_or_existing_or_a_field() -> None:
    source = rows_of(("u1", "purchase", "2024-06-02", 10, "o1"))
    tags = aipl.attributes(pa.table({"user": ["u1"], "customers": ["few"]}), consumer="user")
    with pytest.raises(aipl.ParameterError, match='by: "customers" tells new from existing buyers, and is also a field or tag'):
        aipl.grow(source, **SPLIT, by="customers", attributes=tags)


def test_audiences_and_tags_of_strangers_are_told_of() -> None:
    source = rows_of(("u1", "purchase", "2024-06-02", 10, "o1", "tea", "app"))
    people = aipl.aac_bridge(source, **SPAN).audience("x", "end")
    links = aipl.resolve_identities(pa.table({"phone": ["13912345679"], "account": ["u1"]}), ["phone", "account"])
    persons = source.with_identity(links, id_type="account")
    tags = aipl.attributes(pa.table({"user": ["u1"], "age": ["18-24"]}), consumer="user")
    model = aipl.StageModel.preset("databank")
    cells: dict[str, Any] = {"rows": "category", "columns": "age"}
    for asked, told in (
        (aipl.crosstab(persons, **cells, attributes=tags, within=people), ["within", "attributes"]),
        (aipl.profile(persons, people, by="category", base=people), ["audience", "base"]),
        (aipl.penetration(persons, period=JUNE, reference=people), ["reference"]),
        (aipl.cohort_track(persons, model, people, days=[AS_OF]), ["audience"]),
        (aipl.concentration(persons, model, people, **SPAN), ["audience"]),
        (aipl.flow(persons, model, **SPAN, within=people).matrix(), ["within"]),
        (aipl.crosstab(source, **cells, attributes=tags, within=people), []),
        (aipl.crosstab(persons, **cells, attributes=tags.with_identity(links, id_type="account")), []),
    ):
        assert [note.split(":")[0] for note in asked.report.notes if "nobody in it is a person of the events" in note] == told


def test_a_tag_of_fractions_is_refused_in_words() -> None:
    with pytest.raises(aipl.SchemaError, match="put numbers with a fraction into classes first"):
        aipl.attributes(pa.table({"user": ["u1"], "score": [0.5]}), consumer="user")


def test_a_day_is_a_label_and_a_launch_date(tmp_path: Path) -> None:
    days = [dt.date(2024, 5, 1), dt.date(2024, 6, 5), None]
    table = pa.table({
        "user": ["u1", "u2", "u1"], "brand": ["x"] * 3, "action": ["purchase"] * 3, "day": ["2024-05-10", "2024-06-10", "2024-06-11"],
        "paid": [10.0, 20.0, 5.0], "launched": pa.array(days, pa.date32()),
    })  # fmt: skip
    schema = aipl.EventSchema(
        consumer="user", brand="brand", behavior="action", time="day", amount="paid", attributes={"launch": "launched"}
    )
    source = aipl.from_arrow(table, schema, tz=ZONE)
    bank = aipl.DataBank.create(tmp_path / "bank", schema, tz=ZONE)
    bank.ingest(source, batch_id="a")
    for home in (source, source.load(), bank):
        people = aipl.aac_bridge(home, **SPAN).audience("x", "end")
        values = [row["value"] for row in aipl.profile(home, people, by="launch").to_dicts()]
        assert values == ["2024-05-01", "2024-06-05"]
        row = aipl.grow(home, **SPLIT, launch="launch").totals().to_dicts()[0]
        assert (row["change"], row["new_products"]) == (15.0, 20.0)


@pytest.mark.filterwarnings("ignore::aipl.RejectedRowsWarning")
def test_rows_that_a_table_refuses_are_no_people_of_it() -> None:
    long = "c" * 300
    source = rows_of(
        ("a", "purchase", "2024-05-01", 1, "o1", "tea"), ("b", "purchase", "2024-05-01", 2, "o2", "tea"),
        ("b", "purchase", "2024-05-20", 3, "o3", long), ("c", "purchase", "2024-05-02", 4, "o4", long),
    )  # fmt: skip
    for home in (source, source.load()):
        equity = aipl.consumer_equity(
            home, aipl.StageModel.preset("databank"), as_of="2024-06-01", horizon=20, snapshots=1, spend="category"
        )
        for row in equity.to_dicts():
            for who in ("consumers", "past_consumers", "past_buyers"):
                assert len(equity.audience("x", row["stage"], who=who)) == row[who]


def test_homes_know_the_same_values() -> None:
    bought = rows_of(("a", "purchase", "2024-05-01", 1, "o1", "tea"), ("b", "purchase", "2024-06-02", 1, "o2", "coffee"))
    for home in (bought, bought.load()):
        table = aipl.penetration(home, period=JUNE, category="tea")
        assert (len(table), [note for note in table.report.notes if "tea" in note]) == (
            0, ['category "tea": nothing was bought of it in the period'],
        )  # fmt: skip
        cells = aipl.crosstab(home, rows="category", columns="brand", **SPAN)
        with pytest.raises(aipl.ParameterError, match='row: "tea" is not a value .*; values: coffee$'):
            cells.audience("tea")
        coffee = aipl.penetration(home, period=JUNE, category="coffee")
        with pytest.raises(aipl.ParameterError, match='category: "tea" is not the category of this answer, "coffee"'):
            coffee.audience("tea")
        with pytest.raises(aipl.ParameterError, match='no scope "x" in this answer'):
            aipl.penetration(home, period=JUNE, scopes=["z"]).audience("coffee", "x")
        with pytest.raises(aipl.ParameterError, match='step: no behavior is given for "issued"'):
            aipl.benefits(home, **SPAN, used="purchase").audience("x", "issued")


def test_a_comparison_is_of_the_answer_that_it_belongs_to(tmp_path: Path) -> None:
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz=ZONE)
    bank.ingest(rows_of(("u1", "purchase", "2024-05-01", 10, "o1")), batch_id="a")
    equity = aipl.consumer_equity(bank, aipl.StageModel.preset("databank"), as_of="2024-06-01", horizon=20, snapshots=1)
    bank.ingest(rows_of(("u2", "purchase", "2024-05-03", 10, "o2")), batch_id="b")
    with pytest.raises(aipl.ParameterError, match="gone on"):
        equity.compare("2024-05-31")
