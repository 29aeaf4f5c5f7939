"""Random logs with orders, refunds, members and coupons, and comparisons of answers with their naive twins."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import aipl
import builders
import naive_health
import pyarrow as pa
import pytest
import random_logs
from builders import AS_OF, DATABANK, ZONE

DAY = dt.timedelta(days=1)
COUPONS = ["issue", "claim", "use"]
SCHEMA = aipl.EventSchema(
    consumer="consumer", brand="brand", behavior="behavior", time="time", category="category", store="store", touchpoint="touchpoint",
    channel="channel", order_id="order_id", event_id="event_id", amount="amount", rating="rating", city="city", own_behaviors=COUPONS,
    attributes={"points": "points", "coupon": "coupon", "discount": "discount"},
)  # fmt: skip
ACTS = [
    "view", "view", "favorite", "search", "review", "add_to_cart", "like",
    "member_join", "member_join", "member_leave", "follow", "unfollow",
]  # fmt: skip


def random_events(rng: random.Random, count: int = 70, span: int = 40) -> list[dict[str, Any]]:
    """Acts, orders of one to three lines with their refunds, and coupons, of seven consumers and three brands."""
    events: list[dict[str, Any]] = []
    people = [f"u{number}" for number in range(7)]
    orders: dict[tuple[str, str], list[str]] = {}
    bought = []

    def add(behavior: str, like: dict[str, Any] | None = None, later: int = 0, **fields: Any) -> dict[str, Any]:
        event = {
            "consumer": rng.choice(people),
            "brand": rng.choice(["x", "x", "y", "z"]),
            "category": rng.choice([None, "c1", "c1", "c2"]),
            "store": None,
            "touchpoint": rng.choice([None, "live", "poster"]),
            "channel": rng.choice([None, "app", "shop"]),
            "city": rng.choice([None, *random_logs.CITIES]),
            "day": AS_OF - DAY * rng.choice([*rng.sample(range(-3, span), 6), 400]),
            "rating": rng.choice([None, 3, 4.5]),
            "points": rng.choice([None, 1, 5, 6]),
            **dict.fromkeys(("order_id", "amount", "coupon", "discount")),
            **(like or {}),
            "behavior": behavior,
            "order": rng.randrange(86_400),
            "event_id": rng.choice([None, f"e{len(events)}"]),
            **fields,
        }
        event["day"] += DAY * later
        events.append(event)
        return event

    for _ in range(count):
        add(rng.choice(ACTS))
    # Every brand sells in every category, whichever ten days are looked at.
    for brand, category, ago in product(("x", "y", "z"), ("c1", "c2"), (9, 16)):
        add("purchase", brand=brand, category=category, touchpoint=None, day=AS_OF - DAY * ago, amount=20.25)
    for _ in range(count // 2):
        amounts = [rng.choice([None, 0.1, 10, 19.99, 20.25, 60.5]) for _ in range(rng.choice([1, 1, 2, 3]))]
        first = add("purchase", amount=amounts[0], discount=rng.choice([None, 1.5]))
        known = orders.setdefault((first["consumer"], first["brand"]), [])
        if rng.random() < 0.75:
            first["order_id"] = f"o{len(known)}"
            known.append(first["order_id"])
            bought.append(first)
            for amount in amounts[1:]:
                add("purchase", first, amount=amount)
        paid = naive_health.money(amounts[0]) if not first["order_id"] else sum(map(naive_health.money, amounts))
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            back = rng.choice([None, 0.05, 5, float(paid), -float(paid), float(paid) + 3])
            named_order = rng.choice([first["order_id"], first["order_id"], "lost"])
            add("refund", first, rng.choice([0, 1, 5, 30]), amount=back, discount=None, order_id=named_order)
    for _ in range(count // 2):
        order_id = rng.choice([None, "o0", "lost"])
        add(rng.choice(COUPONS), coupon=rng.choice([None, "k1", "k2"]), amount=rng.choice([None, 7.5]), order_id=order_id)
        add("use", rng.choice(bought), rng.choice([0, 0, 2]), coupon=rng.choice([None, "k1"]), discount=rng.choice([None, 0.5, 2]))
    # Some events arrive twice.
    return events + [dict(event) for event in rng.sample(events, count // 5) if event["event_id"]]


class Case:
    """A random log with states and a model, as a source and for the twin."""

    def __init__(self, seed: int, *, scope: str | None = "brand", states: bool = True) -> None:
        self.rng = random.Random(seed)
        self.events = random_events(self.rng)
        self.people: list[Any] = [f"u{number}" for number in range(7)]
        if not states and self.rng.random() < 0.5:
            self.people = list(range(1, 8))
            self.events = [{**event, "consumer": int(event["consumer"][1:]) + 1} for event in self.events]
        rules = random_logs.random_model(self.rng) if self.rng.random() < 0.6 else DATABANK.to_dict()
        self.rules = {**rules, "scope": scope or self.rng.choice(["brand", "category"])}
        self.rules.pop("brand_wide_touchpoints", None)
        self.model = aipl.StageModel.from_dict(self.rules)
        self.source = aipl.from_arrow(random_logs.as_arrow(self.events), SCHEMA, tz=ZONE)
        held: list[tuple[Any, ...]] = []
        if states and self.rng.random() < 0.6:
            self.source, held = random_logs.with_random_states(self.rng, self.source, self.rules["scope"])
        self.twin = naive_health.Log(self.events, held, self.rules)
        self.end = AS_OF - DAY * self.rng.choice([0, 0, 2, 9])
        self.start = self.end - DAY * self.rng.choice([0, 4, 12, 25])
        known = {self.twin.scope(event) for event in self.twin.events} | {naive_health.text_of(state[1]) for state in held}
        self.scopes = sorted(scope for scope in known if scope is not None)

    def sources(self) -> list[aipl.Events | aipl.EventLog]:
        """The source, and the log in memory."""
        return [self.source, self.source.load()]

    def some_scopes(self) -> list[str] | None:
        """None for all scopes, or some with one that nothing knows."""
        nothing = "nope" if self.rules["scope"] == "brand" else "nope/c1"
        return self.rng.choice([None, [*self.rng.sample(self.scopes, 2), nothing]])

    def audience(self) -> tuple[aipl.Audience, set[Any]]:
        """Some consumers, with one whom no event knows."""
        stranger = "stranger" if isinstance(self.people[0], str) else 99
        who = [*self.rng.sample(self.people, self.rng.randint(0, 5)), stranger]
        seen = builders.from_rows([(consumer, "x", "view", "2024-06-30") for consumer in who])
        return aipl.Audience.from_ids(who, seen.load()), set(who)

    def as_persons(self) -> tuple[aipl.Events, aipl.Events, aipl.Audience]:
        """Every two consumers as one person: through an identity map, and written so; and the first two persons."""
        phones = {person: f"1391234567{at // 2}" for at, person in enumerate(self.people)}
        links = pa.table({"phone": list(phones.values()), "account": [str(person) for person in phones]})
        people = aipl.resolve_identities(links, ["phone", "account"])
        numbers: dict[Any, Any] = {person: people.lookup("account", str(person)) for person in self.people}
        written = [{**event, "consumer": numbers[event["consumer"]]} for event in self.events]
        source = aipl.from_arrow(random_logs.as_arrow(written), SCHEMA, tz=ZONE)
        some = aipl.Audience.from_ids([numbers[person] for person in self.people[:4]], source.load())
        return self.source.with_identity(people, id_type="account"), source, some

    def same_for_persons(self, ask: Callable[[Any, aipl.Audience], list[aipl.Table]]) -> None:
        """Answers of events that are seen through a map are those of events written of persons."""
        mapped, written, audience = self.as_persons()
        for one, other in zip(ask(mapped, audience), ask(written, audience), strict=True):
            assert one.to_arrow().equals(other.to_arrow())

    def same_everywhere(self, folder: Path, ask: Callable[[Any], list[aipl.Table]]) -> None:
        """Answers are the same, to the last bit, of a source, a log, a bank and rows in another order, on one thread and on two."""
        shuffled = aipl.from_arrow(random_logs.as_arrow(self.rng.sample(self.events, len(self.events))), SCHEMA, tz=ZONE)
        bank = aipl.DataBank.create(folder / "bank", SCHEMA, tz=ZONE, model=self.model)
        for name, part in (("late", self.events[::2]), ("early", self.events[1::2])):
            bank.ingest(random_logs.as_arrow(part), batch_id=name)
        bank.materialize(self.end)
        wanted = [table.to_arrow() for table in ask(self.source)]
        before = aipl.num_threads()
        for threads, source in [(before, self.source.load()), (1, self.source), (2, shuffled), (1, shuffled.load()), (2, bank)]:
            aipl.set_num_threads(threads)
            try:
                found = [table.to_arrow() for table in ask(source)]
            finally:
                aipl.set_num_threads(before)
            assert [table.schema for table in found] == [table.schema for table in wanted]
            assert all(one.equals(other) for one, other in zip(found, wanted, strict=True))


def named(scope: Any) -> Any:
    """A scope, or a list of them, as functions take it, from the text that tables show."""
    if isinstance(scope, list):
        return [named(item) for item in scope]
    return tuple(scope.split("/")) if isinstance(scope, str) and "/" in scope else scope


def listed(table: aipl.Table, known: Iterable[str]) -> list[str]:
    """The scopes of a table, in its order, which must be that of the texts."""
    scopes = list(dict.fromkeys(table.to_pydict()["scope"]))
    assert scopes == sorted(scopes)
    assert set(scopes) <= {*known, "nope", "nope/c1"}
    return scopes


def same(table: aipl.Table, rows: list[dict[str, Any]]) -> None:
    """A table has these rows, in this order: counts exactly, rates and money to 1e-9."""
    found = table.to_dicts()
    assert len(found) == len(rows)
    for got, wanted in zip(found, rows, strict=True):
        same_row(got, wanted)


def same_row(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    """One row, without regard to the order of columns."""
    assert got.keys() == wanted.keys()
    for column, value in wanted.items():
        close = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
        assert got[column] == close, (column, got, wanted)


def same_people(result: Any, people: dict[tuple[Any, ...], set[Any]]) -> None:
    """The audiences of a result are these sets; of many cells, some are asked."""
    for cell, wanted in random.Random(0).sample(list(people.items()), min(len(people), 20)):
        found = result.audience(*map(named, cell))
        assert set(found.ids()) == wanted, cell
        assert len(found) == len(wanted), cell
