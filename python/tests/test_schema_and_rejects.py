"""EventSchema, rejected rows, the report and its warning."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import warnings

import aipl
import builders
import pyarrow as pa
import pytest

BASE = {"consumer": "user", "brand": "brand", "behavior": "action", "time": "time"}


def test_schema_is_plain_data() -> None:
    schema = aipl.EventSchema(**BASE, rating="stars", behaviors={1: "view", "x": None}, own_behaviors=["drive"], attributes={"vip": "v"}, time_unit="ms")
    assert repr(schema) == (
        "EventSchema(consumer='user', brand='brand', behavior='action', time='time', rating='stars', behaviors={'1': 'view', 'x': None}, "
        "own_behaviors=('drive',), attributes={'vip': 'v'}, time_unit='ms')"
    )
    assert schema == copy.deepcopy(schema) == pickle.loads(pickle.dumps(schema)) == dataclasses.replace(schema)
    assert hash(schema) == hash(pickle.loads(pickle.dumps(schema)))
    assert schema != aipl.EventSchema(**BASE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.brand = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        aipl.EventSchema("user", "brand", "action", "time")  # type: ignore[misc]
    with pytest.raises(TypeError, match="time"):
        aipl.EventSchema(consumer="user", brand="brand", behavior="action")  # type: ignore[call-arg]


def test_schema_does_not_see_later_changes() -> None:
    mapping = {"pv": "view"}
    schema = aipl.EventSchema(**BASE, behaviors=mapping)
    mapping["pv"] = "purchase"
    assert schema.behaviors == {"pv": "view"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"consumer": ""}, aipl.SchemaError, "EventSchema.consumer"),
        ({"consumer": 5}, TypeError, "EventSchema.consumer: a str is needed, not int"),
        ({"category": ""}, aipl.SchemaError, "EventSchema.category"),
        ({"behaviors": {"pv": "veiw"}}, aipl.SchemaError, 'did you mean "view"'),
        ({"behaviors": ["view"]}, TypeError, "EventSchema.behaviors: a dict"),
        ({"behaviors": {1.5: "view"}}, TypeError, "str or int"),
        ({"behaviors": {"pv": 3}}, TypeError, "EventSchema.behaviors"),
        ({"behaviors": {1: "view", "1": "click"}}, aipl.SchemaError, "mapped twice"),
        ({"own_behaviors": ["view"]}, aipl.SchemaError, "standard behavior already"),
        ({"own_behaviors": "drive"}, TypeError, "a list of names"),
        ({"attributes": {"amount": "x"}}, aipl.SchemaError, "standard field"),
        ({"attributes": ["x"]}, TypeError, "a dict of own name to column"),
        ({"time_unit": "sec"}, aipl.SchemaError, '"sec" is not one of'),
    ],
)
def test_schema_refusals(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aipl.EventSchema(**(BASE | changes))


def test_missing_columns_name_the_nearest() -> None:
    schema = aipl.EventSchema(**(BASE | {"consumer": "usr"}))
    with pytest.raises(aipl.ColumnNotFoundError) as caught:
        aipl.from_arrow(builders.table(), schema, tz="UTC")
    assert 'no column "usr" (mapped to consumer); did you mean "user"?' in str(caught.value)
    assert str(caught.value)[0] not in "'\""
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, aipl.SchemaError)
    floats = builders.table().set_column(0, "user", pa.array([1.5] * len(builders.ROWS)))
    with pytest.raises(aipl.SchemaError, match='column "user" .*Float64; accepted'):
        aipl.from_arrow(floats, builders.SCHEMA, tz="UTC")
    integers = builders.table().set_column(3, "time", pa.array([1] * len(builders.ROWS)))
    with pytest.raises(aipl.SchemaError, match="time_unit"):
        aipl.from_arrow(integers, builders.SCHEMA, tz="UTC")


def test_exception_tree() -> None:
    parents = {
        aipl.SchemaError: aipl.AiplError,
        aipl.ColumnNotFoundError: (aipl.SchemaError, KeyError),
        aipl.ParameterError: (aipl.AiplError, ValueError),
        aipl.ModelError: (aipl.AiplError, ValueError),
        aipl.SourceError: (aipl.AiplError, OSError),
        aipl.RejectedRowsError: aipl.SourceError,
        aipl.AudienceError: (aipl.AiplError, ValueError),
        aipl.UniverseMismatchError: aipl.AiplError,
        aipl.StoreLockedError: aipl.AiplError,
        aipl.CorruptStoreError: aipl.AiplError,
        aipl.InternalError: aipl.AiplError,
        aipl.RejectedRowsWarning: UserWarning,
    }
    for error, parent in parents.items():
        for kind in parent if isinstance(parent, tuple) else (parent,):
            assert issubclass(error, kind)
        raised = error("what happened")
        assert str(raised) == "what happened"
        assert str(pickle.loads(pickle.dumps(raised))) == "what happened"


LONG = "x" * 257
BAD = pa.table(
    {
        "user": ["ok", None, "", LONG, "u", "u", "u", "u", "u", "u", "skip"],
        "brand": ["b", "b", "b", "b", None, "", "b", "b", "b", "b", "b"],
        "action": ["view", "view", "view", "view", "view", "view", None, "veiw", "view", "view", "noise"],
        "time": ["2024-06-30"] * 8 + ["1969-12-31", None, "2024-06-30"],
        "stars": [5.0, None, None, None, None, None, None, None, None, None, float("inf")],
    }
)
REASONS = {"null_consumer": 2, "id_too_long": 1, "null_brand": 2, "null_behavior": 1, "unknown_behavior": 1, "time_out_of_range": 1, "null_time": 1}
MAPPED = aipl.EventSchema(**BASE, rating="stars", behaviors={"view": "view", "noise": None})


def test_every_reason_is_counted_and_shown() -> None:
    events = aipl.from_arrow(BAD, MAPPED, tz="UTC")
    with pytest.warns(aipl.RejectedRowsWarning, match=r"9 rows rejected \(.*null_consumer 2.*\); the result's \.report") as seen:
        report = events.validate()
    assert len(seen) == 1 and seen[0].filename == __file__
    assert report.rejected == REASONS and report.rows_rejected == 9
    assert (report.rows_total, report.rows_kept, report.rows_ignored) == (11, 1, 1)
    places = {(example["reason"], example["row"], example["column"]) for example in report.examples}
    assert {("null_consumer", 1, "user"), ("null_consumer", 2, "user"), ("unknown_behavior", 7, "action"), ("null_time", 9, "time")} <= places
    assert any("view" in example["detail"] for example in report.examples if example["reason"] == "unknown_behavior")
    assert not any(LONG in json.dumps(example) for example in report.examples)


def test_snapshot_warns_once_and_carries_the_report() -> None:
    events = aipl.from_arrow(BAD, MAPPED, tz="UTC")
    with pytest.warns(aipl.RejectedRowsWarning) as seen:
        snap = aipl.snapshot(events, builders.DATABANK, as_of="2024-06-30")
    assert len(seen) == 1 and seen[0].filename == __file__
    assert snap.report.rows_rejected > 0 and snap.labels().report is snap.report is snap.counts().report
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        snap.labels().to_dicts()
        snap.audience("b", "A")
    assert snap.labels().to_dicts() == [{"consumer": "ok", "scope": "b", "stage": "A"}]


def test_raise_names_the_first_row() -> None:
    events = aipl.from_arrow(BAD, MAPPED, tz="UTC", on_error="raise")
    with pytest.raises(aipl.RejectedRowsError, match=r"pyarrow.Table, row 1: null_consumer in column \"user\".*9 rows"):
        events.validate()
    with pytest.raises(aipl.SourceError):
        aipl.snapshot(events, builders.DATABANK, as_of="2024-06-30")
    with pytest.raises(aipl.ParameterError, match="on_error: 'rais' is not one of 'reject', 'raise'; did you mean 'raise'"):
        aipl.from_arrow(BAD, MAPPED, tz="UTC", on_error="rais")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(bad: float) -> None:
    table = builders.table().append_column("stars", pa.array([bad] + [1.0] * (len(builders.ROWS) - 1)))
    events = aipl.from_arrow(table, aipl.EventSchema(**BASE, rating="stars"), tz="UTC")
    with pytest.warns(aipl.RejectedRowsWarning):
        assert events.validate().rejected == {"not_finite": 1}


def test_report_is_plain_data() -> None:
    with pytest.warns(aipl.RejectedRowsWarning):
        report = aipl.from_arrow(BAD, MAPPED, tz="UTC").validate()
    data = report.to_dict()
    assert json.loads(json.dumps(data)) == data == dict(report)
    assert report["rows_total"] == report.rows_total and "rejected null_consumer: 2" in repr(report)
    assert data["rows_total"] == sum(data[f"rows_{fate}"] for fate in ("skipped", "ignored", "rejected", "not_needed", "kept"))
    data["rejected"].clear()
    assert report.rejected == REASONS
    assert report.seconds > 0 and report.threads == aipl.num_threads() and pickle.loads(pickle.dumps(report)) == report


def test_recipe_is_plain_data() -> None:
    snap = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of="2024-06-30", scopes=["acme"])
    recipe = json.loads(json.dumps(snap.recipe))
    assert recipe == snap.recipe
    assert (recipe["function"], recipe["as_of"], recipe["scopes"], recipe["tz"]) == ("snapshot", "2024-06-30", ["acme"], builders.ZONE)
    assert aipl.StageModel.from_dict(recipe["model"]) == builders.DATABANK
    assert snap.labels("acme").recipe["table"] == "labels" and snap.counts().recipe["table"] == "counts"


def test_a_rule_that_cannot_match_is_noted() -> None:
    snap = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of="2024-06-30", scopes=["nobody"])
    notes = " ".join(snap.report.notes)
    assert "rating" in notes and "nobody" in notes
