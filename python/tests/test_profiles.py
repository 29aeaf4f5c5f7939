"""Profiles of audiences and attributes of consumers: against the naive twin, and at their edges."""

from __future__ import annotations

import datetime as dt
from typing import Any

import aipl
import builders
import naive_health as naive
import pyarrow as pa
import pytest
from builders import DATABANK, ZONE
from health_cases import Case, same, same_people

TAGS = pa.schema({"who": pa.string(), "age": pa.string(), "tier": pa.int32(), "vip": pa.bool_(), "since": pa.date32()})
LABELED = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="time", channel="channel")


def random_tags(case: Case) -> list[dict[str, Any]]:
    """Rows of tags, of which some are double, some disagree, and some are of nobody."""
    rng = case.rng
    people = [str(person) for person in case.people] + ["77", None]
    values = {
        "age": [None, "18-24", "25-34", "9"],
        "tier": [None, None, 10, 9, -1],
        "vip": [None, True, False],
        "since": [None, dt.date(2024, 1, 1), dt.date(1960, 1, 1)],
    }
    return [{"who": rng.choice(people), **{tag: rng.choice(choices) for tag, choices in values.items()}} for _ in range(rng.randint(1, 20))]


def labeled(rows: list[tuple[str, str, str]]) -> aipl.Events:
    """Views of acme, by user, day and channel."""
    table = builders.table([(user, "acme", "view", day) for user, day, _ in rows])
    return aipl.from_arrow(table.append_column("channel", pa.array([channel for _, _, channel in rows], pa.string())), LABELED, tz=ZONE)


@pytest.mark.parametrize("seed", range(16))
def test_profiles_and_attributes_equal_the_twin(seed: int) -> None:
    case = Case(600 + seed, states=seed % 3 == 0)
    rng = case.rng
    rows = random_tags(case)
    table = pa.Table.from_pylist(rows, TAGS)
    if isinstance(case.people[0], int) and rng.random() < 0.5:
        table = table.set_column(0, "who", table["who"].cast(pa.int64()))
    tags, report = naive.attributes(rows, "who")
    attributes = aipl.attributes(table, consumer="who")
    assert (attributes.report, len(attributes), attributes.tags) == (report, report["consumers"], list(tags))
    by = [*rng.sample(["category", "channel", "city", "points", "coupon", "brand"], 3), *rng.sample(list(tags), 2)]
    asked = {"start": case.start, "end": case.end, "behaviors": ["view", "purchase"], "scopes": ["x", "z"]}
    asked = {name: value for name, value in asked.items() if rng.random() < 0.5}
    audience, who = case.audience()
    base, others = rng.choice([(None, None), case.audience()])
    for source in case.sources():
        found = aipl.profile(source, audience, by=by, base=base, attributes=attributes, **asked)
        typed = {tag: {person: values.get(str(person)) for person in case.people} for tag, values in tags.items()}
        wanted, people = naive.profile(case.twin, who, by, base=others, tags=typed, **asked)
        same(found, wanted)
        same_people(found, people)


def test_the_check_vectors_of_tgi() -> None:
    # 6.6 % of a hundred thousand; of the first thousand and of the next hundred others, 89 and 9.
    flags = [number < 6_600 for number in range(100_000)] + [number < 89 for number in range(1_000)] + [number < 9 for number in range(100)]
    ids = list(range(len(flags)))
    table = pa.table({"user": ids, "brand": ["acme"] * len(ids), "action": ["view"] * len(ids), "time": ["2024-06-30"] * len(ids)})
    log = aipl.from_arrow(table, builders.SCHEMA, tz=ZONE).load()
    tags = aipl.attributes(pa.table({"user": ids, "flag": flags}), consumer="user")
    base = aipl.Audience.from_ids(ids[:100_000], log)
    for first, size, expected in [(100_000, 1_000, (134.8, 110.4, 164.6)), (101_000, 100, (136.4, 73.1, 254.4))]:
        audience = aipl.Audience.from_ids(ids[first : first + size], log)
        row = aipl.profile(log, audience, by="flag", base=base, attributes=tags).to_dicts()[1]
        assert (row["value"], row["audience_total"], row["base"], row["base_share"]) == ("true", size, 6_600, 0.066)
        assert tuple(round(row[name], 1) for name in ("tgi", "tgi_low", "tgi_high")) == expected
        assert row["small"] == (size == 100)


def test_few_of_an_audience_are_flagged() -> None:
    rows = [(f"u{at}", "2024-06-30", "app" if at < 30 else "shop") for at in range(59)]
    everybody = aipl.snapshot(labeled(rows), DATABANK, as_of="2024-06-30").audience("acme", "A")
    found = {row["value"]: (row["audience"], row["small"]) for row in aipl.profile(labeled(rows), everybody, by="channel").to_dicts()}
    assert found == {"app": (30, False), "shop": (29, True)}


def test_several_values_and_nothing_to_divide_by() -> None:
    events = labeled([("u1", "2024-06-29", "app"), ("u1", "2024-06-30", "shop"), ("u2", "2024-06-30", None), ("u3", "2024-06-30", "shop")])
    log = events.load()
    one, rest = (aipl.Audience.from_ids(ids, log) for ids in (["u1"], ["u2", "u3"]))
    table = aipl.profile(events, one, by="channel", base=rest)
    assert [row["value"] for row in table.to_dicts()] == [None, "app", "shop"]
    assert table.to_pydict()["share"] == [0.0, 1.0, 1.0]
    assert table.to_pydict()["tgi"] == [0.0, None, 200.0]
    assert table.to_pydict()["tgi_low"][:2] == [None, None]
    assert table.to_pydict()["difference"][1] is None
    assert [table.audience("channel", value).ids() for value in (None, "app", "shop")] == [[], ["u1"], ["u1"]]
    day = aipl.profile(events, one, by="channel", end="2024-06-29")
    assert [(row["value"], row["base_total"], row["tgi"]) for row in day.to_dicts()] == [("app", 1, 100.0)]
    nobody = aipl.profile(events, one - one, by="channel").to_dicts()
    assert {(row["audience"], row["share"], row["tgi"], row["difference"]) for row in nobody} == {(0, None, None, None)}
    assert len(aipl.profile(events, one - one, by="channel", base=one - one)) == 0
    with pytest.raises(aipl.ParameterError, match='tag: "city" is not one of channel'):
        table.audience("city", "x")


def test_an_empty_source_gives_the_documented_columns() -> None:
    audience = aipl.snapshot(builders.from_rows(), DATABANK, as_of="2024-06-30").audience("acme", "P")
    table = aipl.profile(labeled([]), audience, by="channel")
    counts = {"audience", "audience_total", "base", "base_total"}
    columns = "audience audience_total share base base_total base_share tgi tgi_low tgi_high difference".split()
    types = {name: pa.int64() if name in counts else pa.float64() for name in columns}
    assert len(table) == 0
    assert table.to_arrow().schema == pa.schema({"tag": pa.string(), "value": pa.string(), **types, "small": pa.bool_()})
    assert table.report.notes == ["1 of the audience have no event that is looked at, and do not count"]


def test_a_tag_goes_before_a_field_of_the_same_name() -> None:
    events = labeled([("u1", "2024-06-30", "app")])
    audience = aipl.snapshot(events, DATABANK, as_of="2024-06-30").audience("acme", "A")
    tags = aipl.attributes(pa.table({"user": ["u1"], "channel": [7]}), consumer="user")
    assert aipl.profile(events, audience, by="channel", attributes=tags).to_pydict()["value"] == ["7"]


def test_tags_of_accounts_become_tags_of_persons() -> None:
    links = pa.table({"phone": ["13912345679", "13912345679", "13712345670"], "account": ["u1", "u2", "u3"]})
    people = aipl.resolve_identities(links, ["phone", "account"])
    table = pa.table({"user": ["u1", "u2", "u3", "u4", "u4"], "age": ["b", "a", None, "c", "c"], "tier": [3, None, 1, 2, 1]})
    tags = aipl.attributes(table, consumer="user")
    assert tags.report == {"consumers": 4, "disagreeing": 1, "rejected": {}}
    persons = tags.with_identity(people, id_type="account")
    assert (len(persons), persons.report["disagreeing"], persons.tags) == (3, 2, ["age", "tier"])
    known = tags.with_identity(people, id_type="account", unknown="reject")
    assert known.report == {"consumers": 2, "disagreeing": 1, "rejected": {"unknown_person": 2}}
    events = labeled([(f"u{at}", "2024-06-30", "app") for at in (1, 2, 3, 4)]).with_identity(people, id_type="account")
    everybody = aipl.snapshot(events, DATABANK, as_of="2024-06-30").audience("acme", "A")
    found = aipl.profile(events, everybody, by=["age", "tier"], attributes=persons)
    assert [(row["tag"], row["value"], row["audience"]) for row in found.to_dicts()] == [
        ("age", None, 1), ("age", "a", 1), ("age", "c", 1), ("tier", "1", 2), ("tier", "3", 1),
    ]  # fmt: skip
    with pytest.raises(TypeError, match="people: an IdentityMap is needed"):
        tags.with_identity(3, id_type="account")  # type: ignore[arg-type]
    with pytest.raises(aipl.ParameterError, match='id_type: "acount" is not an id type of this map; did you mean "account"'):
        tags.with_identity(people, id_type="acount")


def test_profiles_and_attributes_refuse_what_they_cannot_answer() -> None:
    events = labeled([("u1", "2024-06-30", "app")])
    audience = aipl.snapshot(events, DATABANK, as_of="2024-06-30").audience("acme", "A")
    for wrong, error, text in [
        ({"by": "chanel"}, aipl.ParameterError, 'by: "chanel" is not a mapped label field; did you mean "channel"'),
        ({"by": []}, aipl.ParameterError, "by: the list of fields and tags is empty"),
        ({"by": 3}, TypeError, "by: a list of str is needed"),
        ({"behaviors": ["veiw"]}, aipl.ParameterError, 'behaviors: "veiw" is not a behavior of the EventSchema; did you mean "view"'),
        ({"start": "2024-07-01", "end": "2024-06-30"}, aipl.ParameterError, "end: 2024-06-30 is before start 2024-07-01"),
        ({"base": ["u1"]}, TypeError, "base: an Audience is needed"),
        ({"attributes": {"age": 1}}, TypeError, "attributes: Attributes"),
    ]:
        with pytest.raises(error, match=text):
            aipl.profile(events, audience, **{"by": "channel", **wrong})
    table = pa.table({"user": ["u1"], "age": ["18-24"], "height": [1.8]})
    with pytest.raises(aipl.ColumnNotFoundError, match='no column "usr"'):
        aipl.attributes(table, consumer="usr")
    with pytest.raises(aipl.ColumnNotFoundError, match='no column "agee".*did you mean "age"'):
        aipl.attributes(table, consumer="user", tags=["agee"])
    with pytest.raises(aipl.SchemaError, match='column "height"'):
        aipl.attributes(table, consumer="user")
    assert aipl.attributes(table, consumer="user", tags=["age"]).tags == ["age"]
    with pytest.raises(aipl.SchemaError, match="at least one tag"):
        aipl.attributes(table.select(["user"]), consumer="user")
    with pytest.raises(TypeError, match="table: an Arrow table"):
        aipl.attributes([("u1", "18-24")], consumer="user")


def test_an_empty_list_of_behaviors_is_not_all_of_them() -> None:
    events = labeled([("u1", "2024-06-30", "app")])
    audience = aipl.snapshot(events, DATABANK, as_of="2024-06-30").audience("acme", "A")
    with pytest.raises(aipl.ParameterError, match="behaviors: the list of behaviors is empty"):
        aipl.retention(events, start="2024-06-01", end="2024-06-30", behaviors=[])
    with pytest.raises(aipl.ParameterError, match="behaviors: the list of behaviors is empty"):
        aipl.profile(events, audience, by="channel", behaviors=[])
