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
