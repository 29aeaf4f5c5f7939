"""Identity maps, and events seen through them, against persons worked out by hand."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from pathlib import Path

import aipl
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SCHEMA = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day")
MODEL = aipl.StageModel.preset("databank")


def phone(number: int) -> str:
    return f"139{number:08}"


def components(links: list[tuple[str, str]]) -> set[frozenset[str]]:
    """Connected components, breadth first."""
    neighbors: dict[str, set[str]] = defaultdict(set)
    for left, right in links:
        neighbors[left].add(right)
        neighbors[right].add(left)
    found, seen = set(), set()
    for start in neighbors:
        if start in seen:
            continue
        queue, group = [start], {start}
        while queue:
            fresh = neighbors[queue.pop()] - group
            group |= fresh
            queue += fresh
        seen |= group
        found.add(frozenset(group))
    return found


def groups(people: aipl.IdentityMap) -> set[frozenset[str]]:
    persons: dict[int, set[str]] = defaultdict(set)
    for row in people.persons().to_dicts():
        persons[row["person"]].add(row["id"])
    return {frozenset(ids) for ids in persons.values()}


def random_graph(nodes: int, count: int, seed: int) -> list[tuple[str, str]]:
    lots = random.Random(seed)
    return [(f"n{lots.randrange(nodes)}", f"n{lots.randrange(nodes)}") for _ in range(count)]


def edges(links: list[tuple[str, str]]) -> pa.Table:
    left, right = map(list, zip(*links, strict=True))
    kind = ["account"] * len(links)
    return pa.table({"id_type_a": kind, "id_a": left, "id_type_b": kind, "id_b": right})


@pytest.mark.parametrize(("nodes", "count", "seed"), [(50, 20, 1), (1000, 600, 2), (100_000, 60_000, 3), (100_000, 150_000, 4)])
def test_random_graphs_have_the_components_of_a_walk(nodes: int, count: int, seed: int) -> None:
    links = random_graph(nodes, count, seed)
    people = aipl.resolve_identities(edges(links), ["account"], max_people_per_id=None)
    assert groups(people) == components(links)
    assert len(people) == len(components(links))
    numbers = {name: at for at, name in enumerate(sorted({end for link in links for end in link}))}
    table = pa.table({"a": [numbers[a] for a, _ in links], "b": [numbers[b] for _, b in links]})
    roots = aipl.connected_components(table).to_pydict()["component"]
    by_root: dict[int, set[str]] = defaultdict(set)
    for name, number in numbers.items():
        by_root[roots[number]].add(name)
    assert {frozenset(group) for group in by_root.values()} == components(links)
    assert all(root <= number for number, root in enumerate(roots))


def test_any_arrow_table_any_file_and_scanned_events_give_the_same_people(tmp_path: Path) -> None:
    rows = pa.table({
        "phone": ["13912345679", "+86 139 1234 5679", None, "13700000001"],
        "device": ["d1", "d2", "d3", "d3"],
        "user": ["u1", "u2", "u3", "u4"], "brand": ["acme"] * 4, "action": ["view"] * 4, "day": ["2024-06-20"] * 4,
    })
    pq.write_table(rows, tmp_path / "rows.parquet")
    rows.to_pandas().to_csv(tmp_path / "rows.csv", index=False)
    with pa.ipc.new_file(tmp_path / "rows.arrow", rows.schema) as writer:
        writer.write_table(rows)
    given = [
        rows, rows.to_pandas(), pl.from_arrow(rows), duckdb.sql("FROM rows"), rows.to_reader(),
        tmp_path / "rows.parquet", str(tmp_path / "*.parquet"), [tmp_path / "rows.csv"], tmp_path / "rows.arrow",
        aipl.scan_parquet(tmp_path / "rows.parquet", SCHEMA, tz="UTC"), aipl.from_arrow(rows, SCHEMA, tz="UTC"),
        rows.set_column(1, "device", rows["device"].dictionary_encode()),
    ]  # fmt: skip
    expected = aipl.resolve_identities(rows, ["phone", "device"]).persons().to_pydict()
    assert len(set(expected["person"])) == 2
    for other in given:
        assert aipl.resolve_identities(other, ["phone", "device"]).persons().to_pydict() == expected


def test_integers_are_identifiers_too() -> None:
    rows = pa.table({"member": [7, 7, None, 9], "taobao": ["7", "8", "9", "9"]})
    people = aipl.resolve_identities(rows, ["member", "taobao"])
    assert people.lookup("member", 7) == people.lookup("member", "7") == people.lookup("taobao", "8")
    assert (len(people), people.lookup("taobao", "9")) == (2, people.lookup("member", 9))


@pytest.mark.parametrize(("count", "persons"), [(10, 1), (11, 11)])
def test_an_identifier_of_more_than_ten_people_links_nobody(count: int, persons: int) -> None:
    rows = pa.table({"phone": [phone(21 + n) for n in range(count)], "device": ["kiosk"] * count})
    people = aipl.resolve_identities(rows, ["phone", "device"])
    assert len(people) == persons
    refused = people.refused().to_dicts()
    assert len(refused) == (0 if persons == 1 else count)
    assert {row["reason"] for row in refused} <= {"shared"}
    everybody = aipl.resolve_identities(rows, ["phone", "device"], max_people_per_id=None)
    assert len(everybody) == 1
    # Many devices do not make many people.
    turned = pa.table({"phone": [phone(21)] * count, "device": [f"d{n}" for n in range(count)]})
    assert len(aipl.resolve_identities(turned, ["phone", "device"])) == 1


def test_a_guard_can_trip_when_rows_are_added() -> None:
    rows = pa.table({"phone": [phone(21 + n) for n in range(12)], "device": ["kiosk"] * 12})
    early = aipl.resolve_identities(rows.slice(0, 10), ["phone", "device"])
    late = early.add(rows.slice(10))
    assert (len(early), len(late)) == (1, 12)
    assert groups(late) == groups(aipl.resolve_identities(rows, ["phone", "device"]))


def test_blanks_and_test_numbers_link_nobody() -> None:
    blank = ["", "0", "00000000000", "null", None, "unknown"]
    rows = pa.table({"phone": [*blank, "13800138000", "13800138000"], "taobao": [f"t{n}" for n in range(8)]})
    people = aipl.resolve_identities(rows, ["phone", "taobao"])
    assert len(people) == 8
    # Nulls and empty texts are no values at all.
    assert people.report()["id_types"][0]["blank"] == 4
    assert {row["reason"] for row in people.refused().to_dicts()} == {"ignored"}
    assert people.lookup("phone", "13800138000") is None
    own = aipl.resolve_identities(rows, [aipl.IdType("phone"), aipl.IdType("taobao", ignore=["t1", "t2"])])
    assert len(own) == 6


def test_single_values_and_large_components_give_way_by_priority() -> None:
    rows = pa.table({"member": ["m1", "m2", None, None], "phone": [phone(21), phone(22), phone(21), phone(22)],
                     "device": ["d1", "d2", "d", "d"]})  # fmt: skip
    types = [aipl.IdType("member", single=True), "phone", "device"]
    people = aipl.resolve_identities(rows, types)
    # Phones are stronger than the device that both have, so one of the two device links gives way.
    assert len(people) == 2
    assert people.lookup("member", "m1") == people.lookup("phone", phone(21)) != people.lookup("phone", phone(22))
    assert [row["reason"] for row in people.refused().to_dicts()] == ["single_value"]
    small = aipl.resolve_identities(rows, ["member", "phone", "device"], max_component=3)
    assert max(size["ids"] for size in small.report()["sizes"]) <= 3
    assert {row["reason"] for row in small.refused().to_dicts()} == {"component_full"}


def test_carried_values_belong_to_one_person_and_connect_nobody() -> None:
    rows = pa.table({"phone": [phone(21), phone(22), None], "taobao": ["t", "t", "alone"]})
    people = aipl.resolve_identities(rows, ["phone", aipl.IdType("taobao", joining=False)])
    assert len(people) == 3
    assert people.lookup("taobao", "t") in (people.lookup("phone", phone(21)), people.lookup("phone", phone(22)))
    assert [row["reason"] for row in people.refused().to_dicts()] == ["carried_elsewhere"]


def test_plain_and_hashed_values_of_one_column_meet() -> None:
    md5 = hashlib.md5(phone(21).encode()).hexdigest()
    rows = pa.table({"phone": [phone(21), md5.upper(), phone(22)], "taobao": ["t1", "t2", "t3"]})
    people = aipl.resolve_identities(rows, ["phone", "taobao"])
    assert people.lookup("taobao", "t1") == people.lookup("taobao", "t2") == people.lookup("phone", "86" + phone(21))
    assert (len(people), people.lookup("phone", md5)) == (2, people.lookup("taobao", "t1"))
    assert people.person(people.lookup("taobao", "t1"))[0] == ("phone", md5)
    # The hash of nothing, and of a test number, is nobody's.
    nothing = [hashlib.sha256(text.encode()).hexdigest() for text in ("", "", "13800138000", "13800138000")]
    assert len(aipl.resolve_identities(pa.table({"phone": nothing, "taobao": list("abcd")}), ["phone", "taobao"])) == 4
    plain = aipl.resolve_identities(pa.table({"phone": [phone(21)], "taobao": ["t1"]}), ["phone", "taobao"])
    with pytest.raises(aipl.ParameterError, match="md5"):
        plain.add(rows)
    declared = aipl.resolve_identities(pa.table({"phone": [phone(21)], "taobao": ["t1"]}), [aipl.IdType("phone", hash="md5"), "taobao"])
    assert declared.add(rows).lookup("taobao", "t2") == declared.lookup("taobao", "t1")


def test_merges_tell_who_became_one_and_by_what() -> None:
    rows = pa.table({
        "phone": [phone(21), phone(22), phone(21), None],
        "device": ["d1", "d2", None, "d3"],
        "seen_at": pa.array(["2024-01-01", "2024-02-01", "2024-03-01", "2024-01-05"]).cast(pa.timestamp("us")),
        "source": ["app", "store", "app", "app"],
    })
    people = aipl.resolve_identities(rows, ["phone", "device"])
    assert len(people.merges()) == 0
    more = people.add(pa.table({"phone": [phone(21)], "device": ["d2"], "source": ["mini"]}))
    merge, = more.merges().to_dicts()
    assert (merge["kept"], merge["merged"]) == (people.lookup("phone", phone(21)), people.lookup("phone", phone(22)))
    assert (merge["batch"], merge["id_a"], merge["id_b"], merge["source"]) == (1, phone(21), "d2", "mini")
    assert more.lookup("device", "d2") == people.lookup("device", "d1")


def test_values_that_cannot_be_used_are_counted_or_raised() -> None:
    rows = pa.table({"phone": ["12345", phone(21)], "taobao": ["x" * 257, "t"]})
    with pytest.warns(aipl.RejectedRowsWarning, match="malformed_id 1"):
        people = aipl.resolve_identities(rows, ["phone", "taobao"])
    assert sum(people.report()["rejected"].values()) == 2
    assert people.report()["examples"][0]["row"] == 0
    with pytest.raises(aipl.RejectedRowsError):
        aipl.resolve_identities(rows, ["phone", "taobao"], on_error="raise")


def test_refusals_name_what_is_wrong() -> None:
    rows = pa.table({"phone": [phone(21)], "taobao": ["t"]})
    people = aipl.resolve_identities(rows, ["phone", "taobao"])
    with pytest.raises(aipl.ParameterError, match='did you mean "taobao"'):
        people.lookup("taobo", "t")
    with pytest.raises(aipl.ColumnNotFoundError, match="phone, taobao"):
        aipl.resolve_identities(pa.table({"x": [1]}), ["phone", "taobao"])
    with pytest.raises(aipl.SchemaError, match="phone"):
        aipl.resolve_identities(pa.table({"phone": [1.5]}), ["phone"])
    with pytest.raises(aipl.IdentityError, match="no phone"):
        people.block("phone", phone(99))
    with pytest.raises(aipl.IdentityError, match="links"):
        people.unlink(("phone", phone(21)), ("phone", phone(21)))
    with pytest.raises(aipl.IdentityError, match="person 5"):
        people.person(5)
    with pytest.raises(aipl.ParameterError, match="twice"):
        aipl.resolve_identities(rows, ["phone", "phone"])
    with pytest.raises(aipl.ParameterError, match="≥ 1"):
        aipl.resolve_identities(rows, ["phone"], max_people_per_id=0)
    with pytest.raises(TypeError, match="id_types"):
        aipl.resolve_identities(rows, "phone")
    with pytest.raises(TypeError, match="rows"):
        aipl.resolve_identities(7, ["phone"])
    with pytest.raises(aipl.SourceError, match="no stored IdentityMap"):
        aipl.IdentityMap.from_arrow(rows)
    with pytest.raises(aipl.ParameterError, match="components|nodes|node"):
        aipl.connected_components(pa.table({"a": [5], "b": [1]}), nodes=3)


def test_maps_of_nothing() -> None:
    empty = pa.table({"phone": pa.array([], pa.string()), "taobao": pa.array([], pa.string())})
    people = aipl.resolve_identities(empty, ["phone", "taobao"])
    assert (len(people), len(people.persons()), len(people.refused()), people.report()["ids_per_person"]) == (0, 0, 0, None)
    assert people.lookup("phone", phone(21)) is None
    one = people.add(pa.table({"phone": [phone(21)]}))
    assert len(one) == 1
    assert len(aipl.IdentityMap.from_arrow(people.to_arrow())) == 0


def test_a_map_comes_back_from_a_file(tmp_path: Path) -> None:
    rows = edges(random_graph(300, 200, 5))
    people = aipl.resolve_identities(rows, ["account"], max_people_per_id=3, max_component=20)
    people = people.add(edges(random_graph(300, 100, 6)))
    link = people.links(people.persons().to_dicts()[0]["person"]).to_dicts()
    people = people.unlink(("account", link[0]["id_a"]), ("account", link[0]["id_b"])) if link else people
    people.to_parquet(tmp_path / "people.parquet")
    for back in (aipl.IdentityMap.from_parquet(tmp_path / "people.parquet"), aipl.IdentityMap.from_arrow(people)):
        assert repr(back) == repr(people)
        for table in ("persons", "refused", "merges", "ignored"):
            assert getattr(back, table)().to_pydict() == getattr(people, table)().to_pydict()
        assert (back.id_types, back.max_people_per_id, back.max_component) == (people.id_types, 3, 20)
    assert list(tmp_path.iterdir()) == [tmp_path / "people.parquet"]


def random_events(seed: int) -> tuple[pa.Table, pa.Table]:
    lots = random.Random(seed)
    actions = ["impression", "view", "favorite", "purchase", "review", "member_join", "member_leave"]
    rows = [
        (f"u{lots.randrange(40)}", lots.choice(["acme", "zeta"]), lots.choice(actions), f"2024-{lots.randrange(1, 7):02}-{lots.randrange(1, 29):02}")
        for _ in range(300)
    ]  # fmt: skip
    users, brands, behaviors, days = map(list, zip(*rows, strict=True))
    events = pa.table({"user": users, "brand": brands, "action": behaviors, "day": days})
    accounts = pa.table({
        "phone": [phone(21 + lots.randrange(12)) for _ in range(30)],
        "user": [f"u{lots.randrange(36)}" for _ in range(30)],
    })
    return events, accounts


@pytest.mark.parametrize("seed", range(6))
def test_answers_equal_those_on_events_rewritten_by_hand(seed: int) -> None:
    table, accounts = random_events(seed)
    people = aipl.resolve_identities(accounts, ["phone", "user"])
    seen = aipl.from_arrow(table, SCHEMA, tz="Asia/Shanghai").with_identity(people, id_type="user")
    # An account that nobody knows is a person of its own.
    known = {user: people.lookup("user", user) for user in set(table["user"].to_pylist())}
    numbers = [known[user] if known[user] is not None else -int(user[1:]) - 1 for user in table["user"].to_pylist()]
    rewritten = aipl.from_arrow(table.set_column(0, "user", pa.array(numbers, pa.int64())), SCHEMA, tz="Asia/Shanghai")
    day = "2024-06-28"
    for one, other in ((seen, rewritten), (seen.load(), rewritten), (seen.load(), rewritten.load())):
        left, right = (aipl.snapshot(source, MODEL, as_of=day) for source in (one, other))
        assert left.counts().to_pydict() == right.counts().to_pydict()
        labels = {(row["consumer"], row["scope"]): row["stage"] for row in right.labels().to_dicts() if row["consumer"] >= 0}
        mine = {(row["consumer"], row["scope"]): row["stage"] for row in left.labels().to_dicts()}
        assert labels.items() <= mine.items() and len(mine) == len(right.labels())
        kwargs = {"start": "2024-03-01", "end": day}
        assert aipl.trend(one, MODEL, **kwargs).to_pydict() == aipl.trend(other, MODEL, **kwargs).to_pydict()
        flows = [aipl.flow(source, MODEL, scope="acme", **kwargs).matrix().to_pydict() for source in (one, other)]
        assert flows[0] == flows[1]
    counts = aipl.snapshot(seen, MODEL, as_of=day).report["identity"]
    assert counts["persons"] == len(aipl.snapshot(seen, MODEL, as_of=day).universe)
    assert counts["accounts"] >= counts["persons"]
    person = people.lookup("user", accounts["user"][0].as_py())
    assert aipl.history(seen, MODEL, consumer=person).to_pydict() == aipl.history(rewritten, MODEL, consumer=person).to_pydict()
    assert len(aipl.timeline(seen, consumer=person)) == numbers.count(person)


def test_unknown_accounts_are_kept_or_rejected_and_exported() -> None:
    table, _ = random_events(1)
    people = aipl.resolve_identities(pa.table({"phone": [phone(21)] * 2, "user": ["u1", "u2"]}), ["phone", "user"])
    events = aipl.from_arrow(table, SCHEMA, tz="Asia/Shanghai")
    kept = aipl.snapshot(events.with_identity(people, id_type="user"), MODEL, as_of="2024-06-28")
    plain = aipl.snapshot(events, MODEL, as_of="2024-06-28")
    everybody = kept.audience("acme", "A")
    for stage in "IPL":
        everybody |= kept.audience("acme", stage)
    in_stage = {user for stage in "AIPL" for user in plain.audience("acme", stage).ids()}
    assert set(everybody.ids(id_type="user")) - {"u1", "u2"} == in_stage - {"u1", "u2"}
    with pytest.warns(aipl.RejectedRowsWarning, match="unknown_person"):
        strict = aipl.snapshot(events.with_identity(people, id_type="user", unknown="reject"), MODEL, as_of="2024-06-28")
    assert len(strict.universe) <= 1
    # Known or not, an account keeps its number when the map learns of it alone.
    learned = people.add(pa.table({"user": ["u3"]}))
    assert learned.lookup("user", "u3") in kept.universe or "u3" not in table["user"].to_pylist()


def test_rows_that_mix_id_types_and_states_of_accounts() -> None:
    people = aipl.resolve_identities(pa.table({"phone": [phone(21)], "taobao": ["t1"]}), ["phone", "taobao"])
    table = pa.table({
        "user": [phone(21), "t1", "t2", "t3"], "kind": ["phone", "taobao", "taobao", "taobo"],
        "brand": ["acme"] * 4, "action": ["purchase"] * 4, "day": ["2024-06-01", "2024-06-20", "2024-06-20", "2024-06-20"],
    })  # fmt: skip
    events = aipl.from_arrow(table, SCHEMA, tz="Asia/Shanghai")
    with pytest.warns(aipl.RejectedRowsWarning, match="unknown_id_type 1"):
        snap = aipl.snapshot(events.with_identity(people, id_type_column="kind"), MODEL, as_of="2024-06-30")
    loyal = snap.audience("acme", "L")
    assert (loyal.ids(id_type="taobao"), len(snap.audience("acme", "P"))) == (["t1"], 1)
    members = pa.table({"user": ["t1"], "brand": ["acme"], "state": ["member"], "from": ["2024-01-01"], "to": pa.nulls(1, pa.string())})
    taobao = events.with_states(members, consumer="user", scope="brand").with_identity(people, id_type="taobao")
    person = people.lookup("phone", phone(21))
    assert person in aipl.snapshot(taobao, MODEL, as_of="2024-06-30").universe
    with pytest.raises(aipl.ParameterError, match="states"):
        events.with_states(members, consumer="user", scope="brand").with_identity(people, id_type_column="kind")
    with pytest.raises(aipl.ParameterError, match="either"):
        events.with_identity(people)
    with pytest.raises(aipl.ColumnNotFoundError, match="kin"):
        events.with_identity(people, id_type_column="kin")


def test_what_a_review_found() -> None:
    """Cases in which an earlier state of the code was wrong."""
    # An unlinked pair no longer counts toward the people of an identifier.
    accounts = [f"t{n}" for n in range(11)]
    crowded = aipl.resolve_identities(pa.table({"phone": [phone(21)] * 11, "taobao": accounts}), ["phone", "taobao"])
    assert (len(crowded), len(crowded.unlink(("phone", phone(21)), ("taobao", "t10")))) == (11, 2)
    # Carried values merge nobody.
    rows = pa.table({
        "phone": [phone(21), phone(22)] * 3, "device": [None] * 4 + ["d"] * 2, "nick": [None, None, "c", "c", None, None],
        "seen_at": pa.array(range(1, 7), pa.timestamp("us")),
    })  # fmt: skip
    people = aipl.resolve_identities(rows, ["phone", "device", aipl.IdType("nick", joining=False)])
    assert [(row["id_b"], row["seen_at"].microsecond) for row in people.merges().to_dicts()] == [("d", 6)]
    # Foreign numbers are no mainland mobiles; numbers that floating point has been through are.
    with pytest.warns(aipl.RejectedRowsWarning):
        foreign = aipl.resolve_identities(pa.table({"phone": ["+1 391 234 5679", "13912345679.0"], "taobao": ["us", "cn"]}), ["phone", "taobao"])
    assert (len(foreign), foreign.lookup("phone", "13912345679")) == (2, foreign.lookup("taobao", "cn"))
    # Hashes of two kinds are refused, or counted where one is chosen; a map without plain values can learn hashed ones.
    md5, sha = (hashlib.new(kind, phone(21).encode()).hexdigest() for kind in ("md5", "sha256"))
    with pytest.raises(aipl.ParameterError, match="md5 and sha256"):
        aipl.resolve_identities(pa.table({"phone": [md5, sha]}), ["phone"])
    with pytest.warns(aipl.RejectedRowsWarning, match="other_hash 1"):
        aipl.resolve_identities(pa.table({"phone": [md5, sha]}), [aipl.IdType("phone", hash="md5")])
    assert len(aipl.resolve_identities(pa.table({"device": ["d"]}), ["phone", "device"]).add(pa.table({"phone": [md5], "device": ["d"]}))) == 1
    # Type names of links are text.
    with pytest.warns(aipl.RejectedRowsWarning, match="unknown_id_type"):
        aipl.resolve_identities(pa.table({"id_type_a": [1], "id_a": [1], "id_type_b": ["phone"], "id_b": [phone(21)]}), ["phone"])
    with pytest.raises(TypeError, match="id_types"):
        aipl.resolve_identities(rows, {"phone", "device"})
    with pytest.raises(aipl.SchemaError, match="Int64"):
        aipl.resolve_identities(pd.DataFrame({"phone": [13912345679, None]}), ["phone"])
    # Rows without an identifier are no rows of the map; sources stay with their links.
    told = pa.table({"phone": [phone(21), None, phone(21), phone(21)], "device": [None, "d", "d", "d"], "source": ["z", "z", "b", "a"],
                     "seen_at": pa.array([1, 2, 5, 5], pa.timestamp("us"))})  # fmt: skip
    people = aipl.resolve_identities(pa.concat_tables([told, told.slice(0, 1).set_column(0, "phone", pa.array([None], pa.string()))]), ["phone", "device"])
    back = aipl.IdentityMap.from_arrow(people.to_arrow())
    assert (repr(back), back.merges().to_pydict()) == (repr(people), people.merges().to_pydict())


def test_consumers_with_a_state_alone_and_hashed_uploads() -> None:
    people = aipl.resolve_identities(pa.table({"phone": [phone(21), phone(22)], "taobao": ["t1", "t9"]}), ["phone", "taobao"])
    table = pa.table({"user": ["t1", "0"], "brand": ["acme"] * 2, "action": ["view"] * 2, "day": ["2024-06-20"] * 2})
    members = pa.table({"user": ["zz", "t9"], "brand": ["acme"] * 2, "state": ["member"] * 2, "from": ["2024-04-10"] * 2, "to": ["2024-06-25"] * 2})
    events = aipl.from_arrow(table, SCHEMA, tz="Asia/Shanghai").with_states(members, consumer="user", scope="brand")
    with pytest.warns(aipl.RejectedRowsWarning, match="null_consumer 1"):
        snap = aipl.snapshot(events.with_identity(people, id_type="taobao"), MODEL, as_of="2024-06-21")
    assert snap.audience("acme", "I").ids(id_type="taobao") == ["t9", "zz"]
    assert snap.report["identity"] == {"accounts": 3, "unknown_accounts": 1, "persons": 3, "accounts_per_person": 1.0}
    assert aipl.Audience.from_ids(["zz"], snap, id_type="taobao")[1].matched == 1
    md5, sha = (hashlib.new(kind, phone(21).encode()).hexdigest() for kind in ("md5", "sha256"))
    found, match = aipl.Audience.from_ids(pd.Series([md5, sha, None, float("nan")]), snap, id_type="phone")
    assert (match.matched, match.persons, match.blank, found.ids(id_type="taobao")) == (2, 1, 2, ["t1"])
    assert aipl.Audience.from_ids(pa.array([phone(21)]), snap, id_type="phone")[1].matched == 1
    mixed = aipl.from_arrow(table.append_column("kind", pa.array(["taobao"] * 2)), SCHEMA, tz="Asia/Shanghai")
    with pytest.raises(aipl.ParameterError, match="states"):
        mixed.with_identity(people, id_type_column="kind").with_states(members, consumer="user", scope="brand")


def test_accounts_need_an_identity() -> None:
    table, _ = random_events(2)
    snap = aipl.snapshot(aipl.from_arrow(table, SCHEMA, tz="Asia/Shanghai"), MODEL, as_of="2024-06-28")
    with pytest.raises(aipl.AudienceError, match="with_identity"):
        snap.audience("acme", "A").ids(id_type="phone")
    with pytest.raises(aipl.AudienceError, match="with_identity"):
        aipl.Audience.from_ids([phone(21)], snap, id_type="phone")


def test_pandas_reads_persons() -> None:
    people = aipl.resolve_identities(pd.DataFrame({"phone": [phone(21)], "taobao": ["t"]}), ["phone", "taobao"])
    assert people.persons().to_pandas()["id_type"].tolist() == ["phone", "taobao"]
