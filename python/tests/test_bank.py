"""The durable bank, from Python: batches, questions, kept days, audiences, processes, and the command line."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import aipl
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

SCHEMA = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="at", rating="stars", order_id="order")
MODEL = aipl.StageModel.preset("databank")
ZONE = "Asia/Shanghai"
DAYS = ["2024-06-01", "2024-06-02", "2024-06-03", "2024-06-04"]


def batch(day: str, seed: int, rows: int = 60) -> pa.Table:
    """Events of a day: different from seed to seed, the same for the same seed."""
    actions = ["impression", "view", "favorite", "purchase", "member_join", "review"]
    at = [(seed * 31 + row * 17) % 997 for row in range(rows)]
    return pa.table(
        {
            "user": [f"u{value % 40}" for value in at],
            "brand": [f"b{value % 3}" for value in at],
            "action": [actions[value % 6] for value in at],
            "at": [f"{day} {value % 24:02d}:{value % 60:02d}:00" for value in at],
            "stars": [value % 5 + 1 if value % 2 else None for value in at],
            "order": [f"o{value}" if value % 6 == 3 else None for value in at],
        }
    )


BATCHES = {day: batch(day, seed) for seed, day in enumerate(DAYS)}


def events(table: pa.Table) -> aipl.Events:
    return aipl.from_arrow(table, SCHEMA, tz=ZONE)


@pytest.fixture
def bank(tmp_path: Path) -> aipl.DataBank:
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz=ZONE, model=MODEL)
    for day, table in BATCHES.items():
        bank.ingest(events(table), batch_id=day)
    return bank


def log() -> aipl.EventLog:
    return events(pa.concat_tables(BATCHES.values())).load()


def test_every_analysis_takes_a_bank(bank: aipl.DataBank) -> None:
    whole = log()

    def asked(source: aipl.DataBank | aipl.EventLog) -> list[object]:
        span = {"start": "2024-06-02", "end": "2024-06-10"}
        flow = aipl.flow(source, MODEL, scope="b1", **span)
        return [
            aipl.snapshot(source, MODEL, as_of="2024-06-10").labels().to_dicts(),
            aipl.trend(source, MODEL, **span).to_dicts(),
            flow.matrix().to_dicts(),
            flow.classes().to_dicts(),
            flow.class_audience("new").ids(),
            aipl.flow_triangle(source, MODEL, days=["2024-06-02", "2024-06-05"], scope="b1").to_dicts(),
            aipl.history(source, MODEL, consumer="u1", scope="b1").to_dicts(),
            sorted(map(str, aipl.timeline(source, consumer="u1").to_dicts())),
            aipl.transition_drivers(
                source, MODEL, scope="b1", from_stage="A", to_stage="P", start="2024-06-01", end="2024-06-10", by="behavior"
            ).to_dicts(),
        ]  # fmt: skip

    assert asked(bank) == asked(whole)


def test_a_batch_is_taken_in_once(bank: aipl.DataBank) -> None:
    before = bank.commit
    again = bank.ingest(BATCHES[DAYS[0]].slice(0), batch_id=DAYS[0])
    assert again["replayed"] and bank.commit == before and again["rows_added"] == 60
    reordered = BATCHES[DAYS[0]].take(list(reversed(range(60))))
    assert bank.ingest(reordered, batch_id=DAYS[0])["replayed"], "the order of rows is no content"
    with pytest.raises(aipl.StoreError, match="has batch \"2024-06-01\" with other content"):
        bank.ingest(BATCHES[DAYS[1]], batch_id=DAYS[0])
    assert bank.info()["rows"] == 240


def test_ingest_takes_paths_and_tables(tmp_path: Path) -> None:
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz=ZONE)
    pq.write_table(BATCHES[DAYS[0]], tmp_path / "a.parquet")
    pl.from_arrow(BATCHES[DAYS[1]]).write_csv(tmp_path / "b.csv")
    assert bank.ingest(tmp_path / "a.parquet", batch_id="a")["rows_added"] == 60
    assert bank.ingest(tmp_path / "b.csv", batch_id="b")["rows_added"] == 60
    assert bank.ingest(pl.from_arrow(BATCHES[DAYS[1]]), batch_id="b")["replayed"], "the same content in another format"
    assert bank.ingest([tmp_path / "a.parquet"], batch_id="a")["replayed"]


def test_rejected_rows_are_told(tmp_path: Path) -> None:
    bank = aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz=ZONE)
    odd = BATCHES[DAYS[0]].set_column(2, "action", pa.array(["viiew"] + ["view"] * 59))
    told = bank.ingest(odd, batch_id="odd")
    assert (told["rows_read"], told["rows_added"], told["rows_rejected"]) == (60, 59, 1)
    assert told["rejected"] == {"unknown_behavior": 1} and "view" in told["examples"][0]["detail"]
    with pytest.raises(aipl.RejectedRowsError):
        bank.ingest(aipl.from_arrow(odd, SCHEMA, tz=ZONE, on_error="raise"), batch_id="strict")
    assert bank.info()["batches"] == 1


def test_copies_of_an_event_are_left_out_across_batches(tmp_path: Path) -> None:
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="at", event_id="id")
    bank = aipl.DataBank.create(tmp_path / "bank", schema, tz=ZONE)
    table = BATCHES[DAYS[0]].select(["user", "brand", "action", "at"]).append_column("id", pa.array([f"e{i}" for i in range(60)]))
    assert bank.ingest(pa.concat_tables([table, table.slice(0, 10)]), batch_id="a")["rows_duplicate"] == 10
    late = bank.ingest(pa.concat_tables([table.slice(50), BATCHES[DAYS[0]].select(["user", "brand", "action", "at"]).slice(0, 5)
                                         .append_column("id", pa.array([f"n{i}" for i in range(5)]))]), batch_id="b")  # fmt: skip
    assert (late["rows_added"], late["rows_duplicate"], late["new_consumers"]) == (5, 10, 0)
    assert bank.info()["rows"] == 65


def test_events_that_do_not_fit_are_refused(bank: aipl.DataBank) -> None:
    table = BATCHES[DAYS[0]]
    with pytest.raises(aipl.SchemaError, match="the days of the bank are in Asia/Shanghai and those of the events in UTC"):
        bank.ingest(aipl.from_arrow(table, SCHEMA, tz="UTC"), batch_id="x")
    more = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="at", city="order")
    with pytest.raises(aipl.SchemaError, match="city: the bank was created without this field and keeps: order_id, rating"):
        bank.ingest(aipl.from_arrow(table, more, tz=ZONE), batch_id="x")
    numbers = table.set_column(0, "user", pa.array(range(60)))
    with pytest.raises(aipl.SchemaError, match="consumer: the bank has utf8 and these events have int64"):
        bank.ingest(events(numbers), batch_id="x")
    for wrong, error in [({"batch_id": ""}, "1 to 256"), ({"batch_id": "x", "memory_limit": 1}, "memory_limit")]:
        with pytest.raises(aipl.ParameterError, match=error):
            bank.ingest(events(table), **wrong)
    less = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="at")
    told = bank.ingest(aipl.from_arrow(table, less, tz=ZONE), batch_id="less")
    assert any("rating" in note for note in told["notes"])


def test_kept_days_and_expiry(bank: aipl.DataBank) -> None:
    before = aipl.snapshot(bank, MODEL, as_of="2024-06-10").counts().to_dicts()
    assert bank.materialize("2024-06-10")["replayed"] is False
    assert bank.materialize("2024-06-10")["replayed"] is True
    kept = aipl.snapshot(bank, MODEL, as_of="2024-06-10")
    assert kept.counts().to_dicts() == before and "materialized" in kept.report.notes[-1]
    assert kept.audience("b1", "A").ids() == aipl.snapshot(log(), MODEL, as_of="2024-06-10").audience("b1", "A").ids()
    joins = sum(action == "member_join" for day in DAYS[:2] for action in BATCHES[day]["action"].to_pylist())
    assert bank.expire(before="2024-06-03")["rows"] == 120 - joins
    assert aipl.snapshot(bank, MODEL, as_of="2024-06-10").counts().to_dicts() == before
    with pytest.raises(aipl.StoreError, match="expired"):
        aipl.snapshot(bank, MODEL, as_of="2024-06-09")
    rows = batch("2024-06-01", 9)
    late = bank.ingest(events(rows.filter(pc.not_equal(rows["action"], "member_join"))), batch_id="late")
    assert (late["rows_added"], late["rows_expired"] > 40, late["dropped_days"]) == (0, True, [])
    touched = bank.ingest(events(batch("2024-06-05", 9)), batch_id="touching")
    assert touched["dropped_days"] == ["2024-06-10 (databank)"] and bank.kept_days() == []


def test_questions_of_events_that_are_gone_are_refused(bank: aipl.DataBank) -> None:
    assert bank.expire(before="2020-01-01")["rows"] == 0
    aipl.snapshot(bank, MODEL, as_of="2024-06-10")
    bank.expire(before="2024-06-03")
    span = {"scope": "b1", "start": "2024-06-05", "end": "2024-06-10"}
    with pytest.raises(aipl.StoreError, match="expired"):
        aipl.transition_drivers(bank, MODEL, from_stage="A", to_stage="P", by="behavior", **span)
    assert any("expired" in note for note in aipl.timeline(bank, consumer="u1").report.notes)
    assert bank.verify()["rows"] == 120 + sum(
        action in ("member_join",) for day in DAYS[:2] for action in BATCHES[day]["action"].to_pylist()
    )
    with pytest.raises(aipl.ParameterError, match="before 2024-06-03"):
        bank.expire(before="2024-06-02")


def test_writing_within_writing_is_refused(bank: aipl.DataBank) -> None:
    refused: list[str] = []

    def again(done: int, total: int) -> None:
        try:
            bank.ingest(BATCHES[DAYS[0]], batch_id="within")
        except aipl.StoreLockedError as error:
            refused.append(str(error))

    bank.ingest(events(batch("2024-06-07", 3)), batch_id="outer", progress=again)
    assert all("in the middle of another operation" in message for message in refused)


def test_earlier_commits_answer_until_vacuum(bank: aipl.DataBank) -> None:
    assert [commit["kind"] for commit in bank.commits()] == ["create"] + ["ingest"] * 4
    then = bank.as_of_commit(3)
    assert then.info()["rows"] == 120
    bank.compact()
    assert aipl.snapshot(then, MODEL, as_of="2024-06-10").counts().to_dicts()
    assert bank.vacuum()["kept_for_readers"] > 0, "the earlier state is still held"
    del then
    assert bank.vacuum()["files"] > 0
    with pytest.raises(aipl.StoreError, match="removed by vacuum"):
        bank.as_of_commit(3)
    with pytest.raises(aipl.ParameterError, match="commits are 1 to"):
        bank.as_of_commit(99)
    assert bank.verify()["rows"] == 240


def test_audiences_are_kept_and_combine_over_time(bank: aipl.DataBank) -> None:
    first = aipl.snapshot(bank, MODEL, as_of="2024-06-10").audience("b1", "A")
    assert bank.save_audience("aware", first, note="first")["version"] == 1
    bank.ingest(events(batch("2024-06-06", 77)), batch_id="more")
    second = aipl.snapshot(bank, MODEL, as_of="2024-06-12").audience("b1", "A")
    assert bank.save_audience("aware", second)["version"] == 2
    assert bank.audience("aware", 1).ids() == first.ids() and bank.audience("aware").ids() == second.ids()
    assert set((bank.audience("aware", 1) | second).ids()) == set(first.ids()) | set(second.ids())
    assert pickle.loads(pickle.dumps(second)).ids() == second.ids()
    assert aipl.Audience.from_bytes(second.to_bytes(), bank.universe).ids() == second.ids()
    foreign = aipl.snapshot(log(), MODEL, as_of="2024-06-10").audience("b1", "A")
    with pytest.raises(aipl.ParameterError, match="was not made from this bank"):
        bank.save_audience("foreign", foreign)
    brought = aipl.Audience.from_ids(foreign.ids(), bank.universe)
    bank.save_audience("brought", brought)
    with pytest.raises(aipl.ParameterError, match="did you mean \"aware\""):
        bank.audience("awre")
    bank.drop_audience("aware")
    assert [saved["name"] for saved in bank.audiences()] == ["brought"]


def test_one_writes_and_many_read(bank: aipl.DataBank, tmp_path: Path) -> None:
    path = tmp_path / "bank"
    with pytest.raises(aipl.StoreLockedError, match=f"process {os.getpid()} since"):
        aipl.DataBank.open(path, "rw")
    reader = aipl.DataBank.open(path)
    with pytest.raises(aipl.StoreError, match="opened to read"):
        reader.ingest(BATCHES[DAYS[0]], batch_id="x")
    bank.ingest(events(batch("2024-06-05", 5)), batch_id="x")
    assert reader.info()["batches"] == 4 and reader.refresh() == bank.commit and reader.info()["batches"] == 5
    with bank.as_of_commit(3) as earlier:
        assert earlier.info()["rows"] == 120
    assert bank.ingest(events(batch("2024-06-05", 6)), batch_id="after an earlier state was closed")["rows_added"] == 60
    bank.close()
    for refused in (lambda: bank.ingest(BATCHES[DAYS[0]], batch_id="y"), lambda: aipl.snapshot(bank, MODEL, as_of="2024-06-04")):
        with pytest.raises(aipl.StoreError, match="the bank is closed"):
            refused()
    with aipl.DataBank.open(path, "rw", timeout=1) as writer:
        assert writer.info()["mode"] == "rw"


def test_threads_share_a_handle(bank: aipl.DataBank) -> None:
    expected = aipl.snapshot(bank, MODEL, as_of="2024-06-04").counts().to_dicts()
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(5):
                assert aipl.snapshot(bank, MODEL, as_of="2024-06-04").counts().to_dicts() == expected
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for seed in range(3):
        bank.ingest(events(batch("2024-06-20", 100 + seed)), batch_id=f"later {seed}")
        bank.compact()
        bank.vacuum()
    for thread in threads:
        thread.join(60)
    assert not failed and not any(thread.is_alive() for thread in threads)


def _in_child(bank: aipl.DataBank, path: str, answers: multiprocessing.Queue) -> None:
    try:
        bank.ingest(BATCHES[DAYS[0]], batch_id="child")
    except aipl.StoreError as error:
        answers.put(str(error))
    answers.put(aipl.DataBank.open(path).info()["rows"])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_handle_does_not_survive_a_fork(bank: aipl.DataBank, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_in_child, args=(bank, str(tmp_path / "bank"), answers))
    child.start()
    told = [answers.get(timeout=30), answers.get(timeout=30)]
    child.join(30)
    assert "open it again after a fork" in told[0] and told[1] == 240
    assert bank.ingest(events(batch("2024-06-05", 5)), batch_id="parent")["rows_added"] == 60
    bank.close()
    aipl.DataBank.open(tmp_path / "bank", "rw").close()


def test_files_are_open_formats(bank: aipl.DataBank, tmp_path: Path) -> None:
    bank.compact()
    bank.vacuum()
    segment = pl.read_parquet(tmp_path / "bank" / "segments" / "*.parquet")
    ids = pl.read_parquet(tmp_path / "bank" / "ids" / "*.parquet")
    joined = segment.join(ids, on="consumer_idx").select("consumer", "brand", "behavior").rows()
    expected = pa.concat_tables(BATCHES.values()).select(["user", "brand", "action"]).to_pylist()
    assert sorted(joined) == sorted(tuple(row.values()) for row in expected)
    assert (tmp_path / "bank").stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (tmp_path / "bank" / "segments").iterdir())


def test_damage_is_told_with_the_file(bank: aipl.DataBank, tmp_path: Path) -> None:
    bank.close()
    segment = next((tmp_path / "bank" / "segments").iterdir())
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 16
    segment.write_bytes(content)
    with pytest.raises(aipl.CorruptStoreError, match=f"segments/{segment.name}"):
        aipl.DataBank.open(tmp_path / "bank").verify()
    with pytest.raises(aipl.StoreError, match="no such directory"):
        aipl.DataBank.open(tmp_path / "nowhere")
    with pytest.raises(aipl.StoreError, match="there is something already"):
        aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz=ZONE)


def test_backup_is_a_bank(bank: aipl.DataBank, tmp_path: Path) -> None:
    assert bank.backup(tmp_path / "copy") > 0
    copy = aipl.DataBank.open(tmp_path / "copy", "rw")
    assert copy.verify()["rows"] == 240 and copy.info()["id"] != bank.info()["id"]
    aware = aipl.snapshot(copy, MODEL, as_of="2024-06-10").audience("b1", "A")
    with pytest.raises(aipl.ParameterError, match="was not made from this bank"):
        bank.save_audience("of the copy", aware)
    assert copy.ingest(events(BATCHES[DAYS[0]]), batch_id=DAYS[0])["replayed"]
    assert copy.events().load().info()["rows"] == 240


def test_links_make_persons_of_accounts(bank: aipl.DataBank, tmp_path: Path) -> None:
    rows = pa.table({"phone": [f"1391234{i % 15:04d}" for i in range(30)], "account": [f"u{i}" for i in range(30)]})
    bank.materialize("2024-06-10")
    with pytest.raises(aipl.ParameterError, match="the first batch of links says"):
        bank.ingest_links(rows, batch_id="links 0")
    told = bank.ingest_links(rows.slice(0, 20), batch_id="links 1", id_types=["phone", "account"], id_type="account")
    assert (told["persons"], told["dropped_days"]) == (15, ["2024-06-10 (databank)"])
    bank.ingest_links(rows.slice(20), batch_id="links 2")
    turned = rows.slice(20).take(list(reversed(range(10))))
    assert bank.ingest_links(turned, batch_id="links 2")["replayed"]
    with pytest.raises(aipl.StoreError, match="other content"):
        bank.ingest_links(rows.slice(0, 3), batch_id="links 2")
    people = aipl.resolve_identities(rows.slice(0, 20), ["phone", "account"], tz=ZONE).add(rows.slice(20))
    # A bank knows all its accounts, as a log does; lazy events those that the question met.
    through = events(pa.concat_tables(BATCHES.values())).with_identity(people, id_type="account").load()
    span = {"start": "2024-06-02", "end": "2024-06-10"}

    def asked(source: aipl.DataBank | aipl.EventLog) -> list[object]:
        snap = aipl.snapshot(source, MODEL, as_of="2024-06-10")
        return [
            snap.labels().to_dicts(),
            snap.report["identity"],
            snap.audience("b1", "A").ids(id_type="account"),
            aipl.trend(source, MODEL, **span).to_dicts(),
            aipl.flow(source, MODEL, scope="b1", **span).matrix().to_dicts(),
            len(aipl.timeline(source, consumer=people.lookup("account", "u1"))),
        ]

    def same(bank: aipl.DataBank) -> bool:
        by_bank, by_events = asked(bank), asked(through)
        assert by_bank == by_events
        return True

    assert bank.identity.persons().to_dicts() == people.persons().to_dicts()
    assert same(bank)
    bank.compact()
    bank.vacuum()
    bank.verify()
    bank.close()
    with aipl.DataBank.open(tmp_path / "bank", "rw") as again:
        assert same(again)
        again.materialize("2024-06-10")
        assert same(again)
        person = aipl.snapshot(again, MODEL, as_of="2024-06-10").audience("b1", "A")
        assert again.save_audience("people", person)["size"] == len(person)
        assert again.audience("people") == person
        for copied in (pickle.loads(pickle.dumps(person)), aipl.Audience.from_bytes(person.to_bytes(), again.universe)):
            assert copied == person and copied.ids() == person.ids()
        # u99 has no event; nobody moves, and what is kept stays.
        told = again.ingest_links(pa.table({"phone": ["13912340000"], "account": ["u99"]}), batch_id="links 3")
        assert (told["accounts_moved"], told["dropped_days"]) == (0, [])
        with pytest.raises(aipl.ParameterError, match="not made from this bank since its newest links"):
            again.save_audience("people", person)
        told = again.ingest_links(pa.table({"phone": ["13912340000"], "account": ["u1"]}), batch_id="links 4")
        assert told["accounts_moved"] > 0 and told["dropped_days"] == ["2024-06-10 (databank)"]
        assert set(person.ids(id_type="account")) <= set(again.audience("people").ids(id_type="account"))


def test_answers_of_earlier_links_stay_what_they_were(bank: aipl.DataBank) -> None:
    links = pa.table({"card": ["c1", "c2"], "account": ["u1", "u2"]})
    bank.ingest_links(links, batch_id="links 1", id_types=["card", "account"], id_type="account")
    bank.materialize("2024-06-10")
    held = aipl.snapshot(bank, MODEL, as_of="2024-06-10")
    fresh = aipl.snapshot(bank, MODEL, as_of="2024-06-10").audience("b1", "A")
    told = bank.ingest_links(pa.table({"card": ["c1"], "account": ["u2"]}), batch_id="links 2")
    assert (told["accounts_moved"], told["dropped_days"]) == (1, ["2024-06-10 (databank)"])
    assert held.audience("b1", "A") == fresh and held.audience("b1", "A").ids() == fresh.ids()
    with pytest.raises(aipl.UniverseMismatchError):
        _ = held.audience("b1", "A") & aipl.snapshot(bank, MODEL, as_of="2024-06-10").audience("b1", "A")
    brought, report = aipl.Audience.from_ids(fresh.ids(id_type="account"), bank, id_type="account")
    assert report.matched == len(fresh.ids(id_type="account")) and bank.save_audience("brought", brought)["size"] == len(brought)
    bank.close()
    assert held.audience("b1", "A").ids() == fresh.ids()


def test_audiences_of_two_commits_combine_and_are_pickled(tmp_path: Path) -> None:
    with aipl.DataBank.create(tmp_path / "own", SCHEMA, tz=ZONE) as bank:
        bank.ingest(events(BATCHES[DAYS[0]].slice(0, 10)), batch_id="1")
        early = aipl.snapshot(bank, MODEL, as_of="2024-06-10").audience("b1", "A")
        bank.ingest(events(BATCHES[DAYS[1]]), batch_id="2")
        late = aipl.snapshot(bank, MODEL, as_of="2024-06-10").audience("b1", "A")
        assert len(early.universe) < len(late.universe)
        for both in (early | late, late | early):
            assert pickle.loads(pickle.dumps(both)) == both
            assert aipl.Audience.from_ids(both.ids(), both) == both


def test_links_tell_what_they_could_not_use_and_hold_to_their_rules(bank: aipl.DataBank) -> None:
    links = pa.table({"phone": ["13912345679", "12", None], "account": ["u1", "u2", None]})
    with pytest.raises(aipl.ParameterError, match="id_type: the first batch of links says"):
        bank.ingest_links(links, batch_id="l1", id_types=["phone", "account"])
    rules = {"id_types": ["phone", "account"], "id_type": "account"}
    with pytest.warns(aipl.RejectedRowsWarning, match="malformed_id 1"):
        told = bank.ingest_links(links, batch_id="l1", max_people_per_id=3, **rules)
    assert (told["rows_read"], told["rows_added"], told["rejected"], len(told["examples"])) == (3, 2, {"malformed_id": 1}, 1)
    more = pa.table({"phone": ["13912345679"], "account": ["u3"]})
    for wrong, said in [({"unknown": "reject"}, "unknown: .* keep, and not reject"), ({"max_people_per_id": 1}, "3, and not 1"),
                        ({"id_types": ["account"]}, "id_types: "), ({"id_type": "phone"}, "account, and not phone"),
                        ({"unknown": "bogus"}, "unknown: "), ({"max_component": 7}, "none, and not 7")]:  # fmt: skip
        with pytest.raises(aipl.ParameterError, match=said):
            bank.ingest_links(more, batch_id="l2", **wrong)
    assert bank.ingest_links(more, batch_id="l2", **rules)["accounts_moved"] == 1
    with pytest.raises(aipl.ParameterError, match="is the id of a batch of events in commit"):
        bank.ingest_links(more, batch_id=DAYS[0])
    with pytest.raises(aipl.ParameterError, match="is the id of a batch of links in commit"):
        bank.ingest(events(BATCHES[DAYS[0]]), batch_id="l2")


# ---- the command line


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aipl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def test_a_nightly_job_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "bank"
    create = ["create", path, "--consumer", "user", "--brand", "brand", "--behavior", "action", "--time", "at"]
    run(*create, "--rating", "stars", "--order-id", "order", "--tz", ZONE, "--model", "databank")
    for day, table in BATCHES.items():
        pq.write_table(table, tmp_path / f"{day}.parquet")
        told = run("ingest", path, tmp_path / f"{day}.parquet", "--batch-id", day).stdout
        assert "rows_added" in told
    assert "replayed" in run("ingest", path, tmp_path / f"{DAYS[0]}.parquet", "--batch-id", DAYS[0]).stdout
    run("snapshot", path, "--as-of", "2024-06-10", "--out", tmp_path / "counts.csv")
    expected = aipl.snapshot(log(), MODEL, as_of="2024-06-10").counts().to_dicts()
    with (tmp_path / "counts.csv").open() as file:
        assert list(csv.DictReader(file)) == [{name: str(value) for name, value in row.items()} for row in expected]
    run("trend", path, "--start", "2024-06-01", "--end", "2024-06-10", "--scope", "b1", "--out", tmp_path / "trend.parquet")
    assert pq.read_table(tmp_path / "trend.parquet").num_rows == 40
    run("flow", path, "--start", "2024-06-02", "--end", "2024-06-10", "--scope", "b1", "--out", tmp_path / "flow.json")
    assert {row["from_stage"] for row in json.loads((tmp_path / "flow.json").read_text())} == {"out", "A", "I", "P", "L"}
    run("materialize", path, "2024-06-10")
    run("audience", "save", path, "aware", "--scope", "b1", "--stage", "A", "--as-of", "2024-06-10")
    run("audience", "export", path, "aware", "--out", tmp_path / "aware.csv")
    own = aipl.snapshot(log(), MODEL, as_of="2024-06-10").audience("b1", "A").ids()
    assert (tmp_path / "aware.csv").read_text().split() == ["consumer", *own]
    assert "aware" in run("audience", "list", path).stdout
    assert "240" in run("info", path).stdout and "orphans" in run("verify", path).stdout
    assert "segments" in run("compact", path).stdout
    run("vacuum", path)
    run("backup", path, tmp_path / "copy")
    assert aipl.DataBank.open(tmp_path / "copy").verify()["rows"] == 240


def test_exit_codes_of_the_command_line(bank: aipl.DataBank, tmp_path: Path) -> None:
    path = tmp_path / "bank"
    assert "another writer" in run("compact", path, code=3).stderr
    assert "no audience" in run("audience", "export", path, "x", code=1).stderr
    assert "--as-of" in run("snapshot", path, code=2).stderr
    assert "not a day" in run("snapshot", path, "--as-of", "June", code=1).stderr
    bank.close()
    catalog = path / "catalog.sqlite"
    content = bytearray(catalog.read_bytes())
    content[-1] ^= 1
    catalog.write_bytes(content)
    assert "catalog.sqlite" in run("info", path, code=4).stderr
    for command in ("create", "ingest", "snapshot", "trend", "flow", "verify", "compact", "info"):
        assert "example:" in run(command, "--help").stdout


def test_cells_that_a_spreadsheet_would_run_are_quoted(tmp_path: Path) -> None:
    table = pa.table({"user": ["=1+1", "@x", "plain"], "brand": ["b"] * 3, "action": ["view"] * 3, "at": ["2024-06-01"] * 3})
    bank = aipl.DataBank.create(tmp_path / "bank", aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="at"), tz=ZONE)
    bank.ingest(table, batch_id="a")
    bank.close()
    for raw, expected in [((), ["'=1+1", "'@x", "plain"]), (("--raw",), ["=1+1", "@x", "plain"])]:
        run("snapshot", tmp_path / "bank", "--as-of", "2024-06-01", "--model", "databank", "--labels", "--out", tmp_path / "l.csv", *raw)
        with (tmp_path / "l.csv").open() as file:
            assert [row["consumer"] for row in csv.DictReader(file)] == expected


def test_the_nightly_example_runs_and_runs_again(tmp_path: Path, repository: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    for day in ("2024-11-09", "2024-11-10"):  # Saturday and Sunday
        actions = ["pv", "buy", "buy"]
        table = pa.table({"user": ["a", "b", "b"], "brand": ["Acme"] * 3, "action": actions, "at": [f"{day} 10:00:00"] * 3})
        pq.write_table(table, folder / f"{day}.parquet")
    environment = {**os.environ, "AIPL": f"{sys.executable} -m aipl"}
    for day in ("2024-11-09", "2024-11-10", "2024-11-10"):
        command = ["sh", str(repository / "examples" / "nightly.sh"), tmp_path / "bank", folder, tmp_path / "out", day]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "loyal-2024-11-10.csv").read_text().split() == ["consumer", "b"]
    assert aipl.DataBank.open(tmp_path / "bank").info()["batches"] == 2


def test_links_on_the_command_line(tmp_path: Path) -> None:
    bank, links = tmp_path / "bank", tmp_path / "links.csv"
    links.write_text("phone,account,at\n13912345679,u1,2024-06-01\n13912345679,u2,2024-06-02\n", encoding="utf-8")
    pq.write_table(BATCHES[DAYS[0]], tmp_path / "day.parquet")
    run("create", bank, "--consumer", "user", "--brand", "brand", "--behavior", "action", "--time", "at", "--tz", ZONE, "--model", "databank")
    run("ingest", bank, tmp_path / "day.parquet", "--batch-id", "1")
    rules = ["--id-types", "phone,account", "--id-type", "account", "--max-people-per-id", "none"]
    taken = run("links", bank, links, "--batch-id", "l1", *rules, "--seen-at", "at", "--out", tmp_path / "told.json")
    assert "accounts_moved" in (tmp_path / "told.json").read_text(encoding="utf-8"), taken.stdout
    run("links", bank, links, "--batch-id", "l1", "--seen-at", "at")
    people = aipl.DataBank.open(bank).identity
    assert people is not None and people.max_people_per_id is None and people.report()["rows"] == 2
    run("audience", "save", bank, "aware", "--scope", "b1", "--stage", "A", "--as-of", DAYS[0])
    run("audience", "export", bank, "aware", "--id-type", "account", "--out", tmp_path / "aware.csv")
    with open(tmp_path / "aware.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = aipl.DataBank.open(bank).audience("aware").ids(id_type="account")
    assert [row["account"] for row in rows] == own and own


def test_a_batch_is_taken_out_and_comes_again(bank: aipl.DataBank) -> None:
    before = bank.commit
    told = bank.drop_batch(DAYS[1])
    assert (told["batch_ids"], told["rows"], told["commit"]) == ([DAYS[1]], 60, before + 1)
    assert bank.info()["rows"] == 180 and bank.as_of_commit(before).info()["rows"] == 240
    assert bank.commits()[-1]["dropped_batches"] == [DAYS[1]]
    with pytest.raises(aipl.ParameterError, match="the bank has no batch"):
        bank.drop_batch(DAYS[1])
    assert bank.ingest(BATCHES[DAYS[1]], batch_id=DAYS[1])["replayed"] is False
    bank.compact()
    bank.vacuum()
    with pytest.raises(aipl.StoreError, match=f"drop them together: .*{DAYS[2]}"):
        bank.drop_batch(DAYS[2])
    assert bank.drop_batch(DAYS)["rows"] == 240 and bank.verify()["rows"] == 0


def test_a_damaged_batch_is_named_and_goes(bank: aipl.DataBank, tmp_path: Path) -> None:
    segment = Path(bank.files()[2])
    bank.close()
    segment.unlink()
    with aipl.DataBank.open(tmp_path / "bank", "rw") as bank:
        for refused in (bank.verify, bank.compact, lambda: aipl.snapshot(bank, MODEL, as_of="2024-06-10")):
            with pytest.raises(aipl.CorruptStoreError, match=f"segments/{segment.name}.*{DAYS[2]}.*drop_batch"):
                refused()
    done = subprocess.run([sys.executable, "-m", "aipl", "drop-batch", str(tmp_path / "bank"), DAYS[2]], check=False)
    assert done.returncode == 0
    assert aipl.DataBank.open(tmp_path / "bank").verify()["rows"] == 180


def test_a_lock_outlives_its_file_and_pipes_are_named(bank: aipl.DataBank, tmp_path: Path) -> None:
    path = tmp_path / "bank"
    (path / "writer.lock").unlink()
    with pytest.raises(aipl.StoreLockedError):
        aipl.DataBank.open(path, "rw")
    bank.close()
    for name in ("catalog.sqlite-journal", "writer.lock", "readers/0123456789abcdef0123456789abcdef"):
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)
        with pytest.raises(aipl.CorruptStoreError, match=f"{name}: a pipe, not a regular file"):
            aipl.DataBank.open(path, "rw").vacuum()
        (path / name).unlink()
    assert aipl.DataBank.open(path, "rw").verify()["rows"] == 240


def test_events_that_a_later_batch_shared_go_with_a_warning(tmp_path: Path) -> None:
    schema = aipl.EventSchema(consumer="u", brand="b", behavior="a", time="t", event_id="e")

    def rows(ids: list[str]) -> pa.Table:
        many = len(ids)
        return pa.table({"u": ids, "b": ["x"] * many, "a": ["view"] * many, "t": ["2024-06-30"] * many, "e": ids})

    bank = aipl.DataBank.create(tmp_path / "bank", schema, tz="UTC")
    bank.ingest(rows(["1", "2"]), batch_id="A")
    assert bank.ingest(rows(["1", "2", "3"]), batch_id="B")["rows_duplicate"] == 2
    with pytest.warns(aipl.LostDataWarning, match="B"):
        told = bank.drop_batch("A")
    assert (told["rows"], told["later_batches"], told["later_copies"]) == (2, ["B"], 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bank.drop_batch("B")["later_copies"] == 0
    assert bank.ingest(rows(["1", "2", "3"]), batch_id="B")["rows_added"] == 3
