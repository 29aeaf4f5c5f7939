"""An identifier of a consumer appears in answers that were asked for, and nowhere else: no error, repr, warning, report or file name."""

from __future__ import annotations

import json
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

import aipl

CANARY = "CANARY13912345679"
HALF = CANARY + "\ud800"
SCHEMA = aipl.EventSchema(
    consumer="u", brand="b", behavior="a", time="t", amount="m", order_id="o", event_id="e", touchpoint="tp"
)  # fmt: skip
MODEL = aipl.StageModel.preset("databank")
GOOD: dict[str, list[Any]] = {
    "u": [CANARY, "b2"], "b": ["x", "x"], "a": ["view", "purchase"], "t": ["2024-06-30"] * 2,
    "m": ["1", "2"], "o": ["1", "2"], "e": ["1", "2"], "tp": ["t", "t"],
}  # fmt: skip


class Watched:
    """Calls, and where the canary was seen."""

    def __init__(self) -> None:
        self.leaks: list[str] = []
        self.calls = 0

    def look(self, where: str, shown: object) -> None:
        if CANARY in str(shown):
            self.leaks.append(f"{where}: {str(shown)[:300]}")

    def call(self, where: str, function: Callable[[], Any]) -> Any:
        self.calls += 1
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                answer = function()
                self.look(f"{where}, repr", repr(answer))
            except Exception as error:
                answer = None
                while error is not None:
                    self.look(f"{where}, {type(error).__name__}", f"{error} {error!r}")
                    self.look(f"{where}, traceback", "".join(traceback.format_exception_only(error)))
                    error = error.__cause__ or error.__context__
        for warning in told:
            self.look(f"{where}, warning", warning.message)
        return answer


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    assert not watched.leaks, "\n".join(watched.leaks)
    assert watched.calls >= 10


@pytest.mark.parametrize("column", [name for name in GOOD if name != "a"])
def test_bad_rows(watched: Watched, column: str, tmp_path: Path) -> None:
    for bad in (CANARY, CANARY * 30, "=" + CANARY, "\x1b" + CANARY):
        table = pa.table({**GOOD, column: [bad, GOOD[column][1]]})
        path = tmp_path / "e.csv"
        pyarrow.csv.write_csv(table, path)
        for on_error in ("reject", "raise"):
            for events in (
                watched.call("from_arrow", lambda: aipl.from_arrow(table, SCHEMA, tz="UTC", on_error=on_error)),
                watched.call("scan_csv", lambda: aipl.scan_csv(path, SCHEMA, tz="UTC", on_error=on_error)),
            ):
                report = watched.call("validate", events.validate)
                if report is not None:
                    watched.look("report", json.dumps(report.to_dict(), default=str))
                watched.call("load", events.load)
                watched.call("snapshot", lambda: aipl.snapshot(events, MODEL, as_of="2024-06-30"))


def test_a_behavior_is_quoted_short_and_harmless() -> None:
    # A word that the schema does not know is what a user needs to see; of one that is no word, little is shown.
    word = "\x1b[2J\u202e" + "w" * 10_000
    for on_error in ("reject", "raise"):
        events = aipl.from_arrow(pa.table({**GOOD, "a": ["view", word]}), SCHEMA, tz="UTC", on_error=on_error)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shown = json.dumps(events.validate().to_dict(), ensure_ascii=False)
        except aipl.RejectedRowsError as error:
            shown = str(error)
        assert "www" in shown and "w" * 61 not in shown and "\x1b" not in shown and "\u202e" not in shown


def test_questions_and_audiences(watched: Watched) -> None:
    log = aipl.from_arrow(pa.table(GOOD), SCHEMA, tz="UTC").load()
    snap = aipl.snapshot(log, MODEL, as_of="2024-06-30")
    audience = snap.audience("x", "A")
    for consumer in (CANARY, CANARY + "x", HALF, CANARY * 1000):
        watched.call("history", lambda: aipl.history(log, MODEL, consumer=consumer))
        watched.call("history of a scope", lambda: aipl.history(log, MODEL, consumer=consumer, scope="nope"))
        watched.call("timeline", lambda: aipl.timeline(log, consumer=consumer))
        watched.call("timeline of a scope", lambda: aipl.timeline(log, consumer=consumer, scope="nope"))
        watched.call("from_ids", lambda: aipl.Audience.from_ids([consumer, "zz"], snap))
        watched.call("from_ids without a universe", lambda: aipl.Audience.from_ids([consumer]))
        watched.call("in universe", lambda: consumer in snap.universe)
        watched.call("in audience", lambda: consumer in audience)
        watched.call("scope", lambda: snap.audience((consumer, 1, 2), "A"))
        watched.call("ids of two kinds", lambda: aipl.Audience.from_ids([consumer, 1.5], snap))
    for function in (aipl.history, aipl.timeline):
        arguments = (log, MODEL) if function is aipl.history else (log,)
        watched.call("huge number", lambda: function(*arguments, consumer=13912345679 << 64))
    watched.call("from_bytes", lambda: aipl.Audience.from_bytes(CANARY.encode()))
    watched.call("from_bytes of a part", lambda: aipl.Audience.from_bytes(audience.to_bytes()[:-3] + CANARY.encode()))
    watched.call("sample", lambda: audience.sample(5))
    watched.call("counts", snap.counts)
    watched.look("made", audience.made)


def test_a_number_that_is_an_id_is_not_repeated() -> None:
    log = aipl.from_arrow(pa.table({**GOOD, "u": [1, 2]}), SCHEMA, tz="UTC").load()
    number = 13912345679 << 64
    with pytest.raises(aipl.ParameterError) as caught:
        aipl.timeline(log, consumer=number)
    assert str(number) not in str(caught.value)


def test_identities(watched: Watched, tmp_path: Path) -> None:
    rows = pa.table(
        {
            "phone": [CANARY, "13912345679", "13912345679"],
            "taobao": ["t1", CANARY, "x" * 300],
            "at": [CANARY, "2024-01-01", "2024-01-02"],
        }
    )
    types = ["phone", "taobao"]
    identity = watched.call("resolve", lambda: aipl.resolve_identities(rows, types))
    watched.call("resolve by time", lambda: aipl.resolve_identities(rows, types, seen_at="at"))
    watched.call("resolve or raise", lambda: aipl.resolve_identities(rows, types, on_error="raise"))
    watched.call("hashed", lambda: aipl.resolve_identities(rows, ["phone", aipl.IdType("taobao", hash="sha256")]))
    watched.call("ignore", lambda: aipl.IdType("phone", ignore=[HALF]))
    watched.look("report", json.dumps(identity.report()))
    for value in (CANARY, CANARY + "q", HALF):
        watched.call("lookup", lambda: identity.lookup("taobao", value))
        watched.call("lookup of no type", lambda: identity.lookup("nope", value))
        watched.call("block", lambda: identity.block("taobao", value + "zzz"))
        watched.call("unlink", lambda: identity.unlink(("taobao", value), ("phone", "13712345670")))
        watched.call("person", lambda: identity.person(value))
    watched.call("links", lambda: identity.links(12345))
    seen = aipl.from_arrow(pa.table(GOOD), SCHEMA, tz="UTC").with_identity(identity, id_type="taobao")
    snap = aipl.snapshot(seen, MODEL, as_of="2024-06-30")
    for value in (CANARY, HALF):
        watched.call(
            "from_ids of a type", lambda: aipl.Audience.from_ids([value, "13912345679"], snap, id_type="taobao")
        )
    watched.call(
        "tags", lambda: aipl.attributes(pa.table({"user": [CANARY, None], "age": [CANARY, "1"]}), consumer="user")
    )
    watched.call("states", lambda: seen.with_states(pa.table({"u": [CANARY]}), consumer="u", state="nope"))


def test_a_bank(watched: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    with aipl.DataBank.create(folder, SCHEMA, tz="UTC", model=MODEL) as bank:
        watched.call("ingest", lambda: bank.ingest(pa.table(GOOD), batch_id="1"))
        watched.call("ingest of other rows", lambda: bank.ingest(pa.table(GOOD).slice(0, 1), batch_id="1"))
        watched.call("bank", lambda: bank)
        watched.look("info", json.dumps(bank.info(), default=str))
        watched.look("commits", json.dumps(bank.commits()))
        rows = pa.table({"phone": ["13912345679"], "taobao": [CANARY]})
        watched.call(
            "links", lambda: bank.ingest_links(rows, batch_id="l", id_types=["phone", "taobao"], id_type="taobao")
        )
        for consumer in (CANARY, HALF):
            watched.call("timeline", lambda: aipl.timeline(bank, consumer=consumer))
            watched.call("history", lambda: aipl.history(bank, MODEL, consumer=consumer))
        watched.call("no audience", lambda: bank.audience("nope"))
        watched.call("batch", lambda: bank.ingest(pa.table(GOOD), batch_id="\ud800"))
        names = "\n".join(str(path) for path in folder.rglob("*"))
    watched.look("file names", names)


def test_no_message_repeats_a_value_that_may_be_an_id() -> None:
    half = "CANARY\ud800"
    for name, call in {
        "consumer": lambda: aipl.timeline(aipl.from_arrow(pa.table(GOOD), SCHEMA, tz="UTC"), consumer=half),
        "ids[0]": lambda: aipl.Audience.from_ids([half], aipl.from_arrow(pa.table(GOOD), SCHEMA, tz="UTC").load()),
    }.items():
        with pytest.raises(aipl.ParameterError) as caught:
            call()
        assert str(caught.value) == f"{name}: no valid text; it holds half of a surrogate pair"
        assert caught.value.__context__ is None
