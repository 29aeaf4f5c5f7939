"""Cohort tracking, retention, membership and benefits: against the naive twin, and at their edges."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import aipl
import builders
import naive_cohorts as naive
import naive_health
import pyarrow as pa
import pytest
from builders import AS_OF, DATABANK, ZONE
from health_cases import COUPONS, DAY, Case, listed, named, same, same_people, same_row

SPAN = {"start": "2024-06-01", "end": "2024-06-30"}
SHOP = aipl.EventSchema(
    consumer="user", brand="brand", behavior="action", time="time", amount="amount", order_id="order", own_behaviors=COUPONS,
    attributes={"coupon": "coupon", "discount": "discount"},
)  # fmt: skip


def shop(rows: list[tuple[Any, ...]]) -> aipl.Events:
    """Acts with acme by rows of (user, action, day, amount, order, coupon, discount), of which the last may be left out."""
    rows = [row + (None,) * (7 - len(row)) for row in rows]
    table = builders.table([(user, "acme", action, day) for user, action, day, *_ in rows])
    kinds = {"amount": pa.float64(), "order": pa.string(), "coupon": pa.string(), "discount": pa.float64()}
    for at, (name, kind) in enumerate(kinds.items(), 3):
        table = table.append_column(name, pa.array([row[at] for row in rows], kind))
    return aipl.from_arrow(table, SHOP, tz=ZONE)


# --- cohort tracking ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(15))
def test_cohort_track_equals_the_twin(seed: int) -> None:
    case = Case(800 + seed, scope=None)
    audience, who = case.audience()
    range_ = naive_health.days(case.start, case.end)
    looked = case.rng.choice([range_, sorted(case.rng.sample(range_, min(3, len(range_))))])
    days: dict[str, Any] = {"start": case.start, "end": case.end} if looked == range_ else {"days": [*looked[::-1], looked[0]]}
    scopes = case.some_scopes()
    for source in case.sources():
        table = aipl.cohort_track(source, case.model, audience, **days, scope=named(scopes))
        rows, summary, people = naive.cohort_track(case.twin, listed(table, case.scopes), who, looked)
        same(table, rows)
        same(table.summary(), summary)
        same_people(table, {cell: found for cell, found in people.items() if cell[0] in case.scopes})
        for row in summary:
            shares = [cell["share"] for cell in table.to_dicts() if (cell["day"], cell["scope"]) == (row["day"], row["scope"])]
            assert sum(shares) == pytest.approx(1.0)


def test_a_frozen_audience_is_followed() -> None:
    bought = [("u1", "purchase", "2024-06-01", 5.0, "o1"), ("u2", "purchase", "2024-06-10", 5.0, "o1")]
    events = shop([*bought, ("u2", "refund", "2024-06-20", None, "o1"), ("u3", "like", "2024-06-01")])
    audience = aipl.Audience.from_ids(["u1", "u2"], events.load())
    table = aipl.cohort_track(events, DATABANK, audience, days=["2024-06-02", "2024-06-15"], scope="acme")
    assert [(row["in_chain"], row["bought"]) for row in table.summary().to_dicts()] == [(1, 0), (2, 1)]
    later = aipl.cohort_track(events, DATABANK, audience, days=["2024-06-02", "2024-06-15", "2024-06-30"], scope="acme")
    # What was given back by the end of the question was not bought; a stage does not know refunds.
    assert [(row["in_chain"], row["bought"]) for row in later.summary().to_dicts()] == [(1, 0), (2, 0), (2, 0)]
    nobody = aipl.cohort_track(events, DATABANK, audience - audience, days=["2024-06-30"], scope=["acme", "nope"])
    assert {(row["consumers"], row["share"]) for row in nobody.to_dicts()} == {(0, None)}
    assert {tuple(row.values())[2:] for row in nobody.summary().to_dicts()} == {(0, 0, None, 0, None)}


def test_cohort_track_refuses_what_it_cannot_answer() -> None:
    events = builders.from_rows()
    audience = aipl.snapshot(events, DATABANK, as_of=AS_OF).audience("acme", "P")
    for wrong, error, text in [
        ({}, aipl.ParameterError, "days: pass either days= or start= and end="),
        ({"start": AS_OF}, aipl.ParameterError, "days: pass either days= or start= and end="),
        ({"days": [AS_OF], "end": AS_OF}, aipl.ParameterError, "days: pass either days= or start= and end="),
        ({"days": []}, aipl.ParameterError, "days: the list of days is empty"),
        ({"days": "2024-06-30"}, TypeError, "days: a list of days is needed, not str"),
        ({"days": [20240630]}, TypeError, r"days\[0\]: a datetime.date"),
        ({"start": "2024-06-30", "end": "2024-06-29"}, aipl.ParameterError, "end: 2024-06-29 is before start 2024-06-30"),
    ]:
        with pytest.raises(error, match=text):
            aipl.cohort_track(events, DATABANK, audience, **wrong)
    table = aipl.cohort_track(events, DATABANK, audience, days=[AS_OF])
    with pytest.raises(aipl.ParameterError, match='no stage "Q"'):
        table.audience("acme", AS_OF, "Q")
    with pytest.raises(aipl.ParameterError, match="day: 2024-06-29 is not one of the days"):
        table.audience("acme", AS_OF - DAY, "P")


def test_rows_of_a_named_scope_give_an_empty_audience() -> None:
    events = builders.from_rows()
    audience = aipl.snapshot(events, DATABANK, as_of=AS_OF).audience("acme", "P")
    table = aipl.cohort_track(events, DATABANK, audience, days=[AS_OF], scope=["nope"])
    assert table.to_dicts()[-1]["consumers"] == 1
    assert table.audience("nope", AS_OF, "out").ids() == ["u3"]


# --- retention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["calendar", "rolling"])
@pytest.mark.parametrize("unit", ["day", "week", "month"])
@pytest.mark.parametrize("seed", range(4))
def test_retention_equals_the_twin(seed: int, unit: str, mode: str) -> None:
    case = Case(900 + seed)
    start = case.start - DAY * case.rng.choice([0, 30, 60])
    behaviors = case.rng.choice([["purchase"], ["view", "like", "search"]])
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for source in case.sources():
        for kind in ("exact", "on_or_after"):
            table = aipl.retention(source, start=start, end=case.end, unit=unit, mode=mode, kind=kind, behaviors=behaviors)
            rows, people = naive.retention(case.twin, case.scopes, start, case.end, unit=unit, mode=mode, kind=kind, behaviors=behaviors)
            wanted = {(row["scope"], row["cohort"], row["period"]): row for row in rows}
            found[kind] = {(row["scope"], row["cohort"], row["period"]): row for row in table.to_dicts()}
            assert list(found[kind]) == sorted(found[kind])
            assert wanted.keys() <= found[kind].keys()
            for cell, row in found[kind].items():
                if cell not in wanted:
                    assert (mode, row["retained"], row["complete"]) == ("rolling", 0, False)
                elif mode == "rolling":
                    # What is complete: see the test below that is expected to fail.
                    assert wanted[cell]["complete"] or not row["complete"]
                    same_row(row, {**wanted[cell], "complete": row["complete"]})
                else:
                    same_row(row, wanted[cell])
            same_people(table, people)
        for (scope, cohort, period), row in found["on_or_after"].items():
            assert row["retained"] >= found["exact"][scope, cohort, period]["retained"]
            assert period == 0 or row["retained"] <= found["on_or_after"][scope, cohort, period - 1]["retained"]


def test_a_cohort_begins_with_the_first_event_ever() -> None:
    days = {"old": ["2024-02-01", "2024-05-02"], "may": ["2024-05-20", "2024-05-31", "2024-07-01"], "june": ["2024-06-15"]}
    events = builders.from_rows([(user, "acme", "purchase", day) for user in days for day in days[user]])
    table = aipl.retention(events, start="2024-05-01", end="2024-07-10")
    found = {(row["cohort"].month, row["period"]): tuple(row.values())[3:] for row in table.to_dicts()}
    assert found == {
        (5, 0): (1, 1, 1.0, True), (5, 1): (1, 0, 0.0, True), (5, 2): (1, 1, 1.0, False),
        (6, 0): (1, 0, 0.0, True), (6, 1): (1, 0, 0.0, False),
    }  # fmt: skip
    assert table.audience("acme", "2024-05-01").ids() == table.audience("acme", dt.date(2024, 5, 1), 2).ids() == ["may"]
    rolling = aipl.retention(events, start="2024-05-01", end="2024-07-10", mode="rolling", kind="on_or_after")
    assert [row["retained"] for row in rolling.to_dicts()][:3] == [1, 1, 0]


def test_a_rolling_period_is_complete_once_it_is_over_for_whoever_could_have_begun_last() -> None:
    events = builders.from_rows([("u1", "acme", "purchase", "2024-06-01")])
    row = aipl.retention(events, **SPAN, mode="rolling").to_dicts()[0]
    assert (row["period"], row["cohort_size"], row["complete"]) == (0, 1, False)
    row = aipl.retention(events, start="2024-06-01", end="2024-07-29", mode="rolling").to_dicts()[0]
    assert (row["period"], row["cohort_size"], row["complete"]) == (0, 1, True)


def test_retention_refuses_what_it_cannot_answer() -> None:
    events = builders.from_rows()
    for wrong, error, text in [
        ({"unit": "year"}, aipl.ParameterError, "unit: 'year' is not one of 'day', 'week', 'month'"),
        ({"mode": "rollin"}, aipl.ParameterError, "mode: .* did you mean 'rolling'"),
        ({"kind": "exactly"}, aipl.ParameterError, "kind: .* did you mean 'exact'"),
        ({"behaviors": "purchase"}, TypeError, "behaviors: a list of str is needed"),
        ({"behaviors": ["purchse"]}, aipl.ParameterError, 'behaviors: "purchse" .* did you mean "purchase"'),
        ({"end": "2024-05-31"}, aipl.ParameterError, "end: 2024-05-31 is before start 2024-06-01"),
    ]:
        with pytest.raises(error, match=text):
            aipl.retention(events, **{**SPAN, **wrong})
    table = aipl.retention(events, **SPAN)
    with pytest.raises(aipl.ParameterError, match="cohort: 2024-06-02 is not one of the days of this answer: 2024-06-01"):
        table.audience("zeta", "2024-06-02")
    with pytest.raises(TypeError, match="period: an int is needed"):
        table.audience("zeta", "2024-06-01", "1")  # type: ignore[arg-type]


# --- membership -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(16))
def test_membership_equals_the_twin(seed: int) -> None:
    case = Case(1000 + seed)
    scopes = case.some_scopes()
    states = {"members": case.rng.choice(["member", "member", "vip"]), "fans": case.rng.choice(["fan", "fan", "member"])}
    for source in case.sources():
        table = aipl.membership(source, start=case.start, end=case.end, scopes=scopes, **states)
        rows, people = naive.membership(case.twin, listed(table, case.scopes), case.start, case.end, **states)
        same(table, rows)
        same_people(table, people)
        for row in table.to_dicts():
            assert row["new_members"] - row["lost_members"] == row["members"] - row["members_start"]
            assert row["new_fans"] - row["lost_fans"] == row["fans"] - row["fans_start"]


def test_the_check_vector_of_members() -> None:
    rows: list[tuple[Any, ...]] = [("u1", "member_join", "2024-01-01"), ("u2", "member_join", "2024-06-15"), ("u3", "follow", "2024-01-01")]
    rows += [("u3", "unfollow", "2024-06-03"), ("u3", "follow", "2024-06-04"), ("u1", "follow", "2024-06-02"), ("u4", "like", "2024-06-09")]
    rows += [("u1", "purchase", "2024-06-05", 30.0), ("u1", "purchase", "2024-06-06", 30.0), ("u4", "purchase", "2024-06-09", 10.0)]
    rows += [("u2", "purchase", "2024-06-14", 10.0), ("u2", "purchase", "2024-06-15", 20.0)]
    events = shop(rows)
    table = aipl.membership(events, **SPAN)
    row = table.to_dicts()[0]
    # Who follows again is no new fan; who joins on a day orders as a member on that day.
    assert [row[name] for name in ("members_start", "members", "new_members", "lost_members")] == [1, 2, 1, 0]
    assert [row[name] for name in ("fans_start", "fans", "new_fans", "lost_fans", "members_and_fans")] == [1, 2, 1, 0, 1]
    assert (row["nonmember_visitors"], row["join_rate"]) == (3, pytest.approx(1 / 3))
    assert [row[name] for name in ("buyers", "member_buyers", "nonmember_buyers", "orders", "member_orders")] == [3, 2, 2, 5, 3]
    assert [row[name] for name in ("gmv", "member_gmv", "member_gmv_share", "member_orders_share")] == [100.0, 80.0, 0.8, 0.6]
    assert [row[f"member_{name}"] for name in ("frequency", "aov", "repurchase_rate")] == [1.5, pytest.approx(80 / 3), 0.5]
    assert [row[f"nonmember_{name}"] for name in ("frequency", "aov", "repurchase_rate")] == [1.0, 10.0, 0.0]
    assert (table.audience("acme", "members_and_fans").ids(), table.audience("acme", "nonmember_buyers").ids()) == (["u1"], ["u2", "u4"])
    nothing = aipl.membership(events, **SPAN, scopes=["nope"]).to_dicts()[0]
    assert {value for value in nothing.values() if value} == {"nope"}
    assert nothing["join_rate"] is nothing["member_gmv_share"] is nothing["member_aov"] is None
    with pytest.raises(aipl.ParameterError, match='who: "fan" is not one of'):
        table.audience("acme", "fan")
    with pytest.raises(TypeError, match="fans: a str is needed"):
        aipl.membership(events, **SPAN, fans=None)  # type: ignore[arg-type]


def test_money_is_null_where_no_amount_is_mapped() -> None:
    row = aipl.membership(builders.from_rows(), **SPAN).to_dicts()[0]
    assert (row["orders"], row["nonmember_frequency"]) == (1, 1.0)
    assert row["gmv"] is row["member_gmv_share"] is row["nonmember_aov"] is None


@pytest.mark.parametrize("day", ["2024-05-30", "2024-05-31"])
def test_an_order_is_dated_by_its_first_row_of_the_period(day: str) -> None:
    events = shop([("u1", "purchase", day, 10.0, "o1"), ("u1", "purchase", "2024-06-01", 20.0, "o1")])
    row = aipl.membership(events, **SPAN).to_dicts()[0]
    assert (row["gmv"], row["orders"]) == (20.0, 1)


# --- benefits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [None, "stage", "customers"])
@pytest.mark.parametrize("seed", range(8))
def test_benefits_equal_the_twin(seed: int, by: str | None) -> None:
    case = Case(1100 + seed)
    scopes = case.some_scopes()
    steps = {"issued": case.rng.choice([None, "issue"]), "claimed": case.rng.choice([None, "claim"]), "used": "use"}
    options: dict[str, Any] = {name: case.rng.choice([None, name]) for name in ("coupon", "discount")}
    options |= {"by": by, "lookback": case.rng.choice([10, 365])}
    for source in case.sources():
        model = case.model if by == "stage" else None
        table = aipl.benefits(source, start=case.start, end=case.end, scopes=scopes, model=model, **steps, **options)
        rows, people = naive.benefits(case.twin, scopes or case.scopes, case.start, case.end, steps, **options)
        found = {(row["scope"], row.get(by or "")): row for row in table.to_dicts()}
        for row in rows:
            cell = row["scope"], row.get(by or "")
            if cell in found:
                same_row(found.pop(cell), row)
            else:
                assert not any(value for name, value in row.items() if name not in ("scope", by))
        assert not found
        shown = set(table.to_pydict()["scope"])
        same_people(table, {cell: who for cell, who in people.items() if cell[0] in shown})


def coupons() -> aipl.Events:
    """Three coupons issued to two consumers, of which one is claimed and used; and two uses of a third."""
    return shop([
        ("u1", "issue", "2024-06-01", None, None, "k1"), ("u1", "issue", "2024-06-01", None, None, "k2"),
        ("u2", "issue", "2024-06-02", None, None, "k1"), ("u1", "claim", "2024-06-02", None, None, "k1"),
        ("u1", "use", "2024-06-03", None, "o1", "k1", 5.0),
        ("u3", "use", "2024-06-05", 7.0, None, "k1", 1.0), ("u3", "use", "2024-06-05", 9.0, "gone"),
        ("u1", "purchase", "2024-06-03", 30.0, "o1"), ("u1", "refund", "2024-06-09", 10.0, "o1"),
        ("u2", "purchase", "2024-06-04", 80.0, "o2"), ("u2", "purchase", "2024-05-01", 1.0),
    ])  # fmt: skip


def test_coupons_from_issue_to_use() -> None:
    asked = {"issued": "issue", "claimed": "claim", "used": "use", "coupon": "coupon", "discount": "discount"}
    table = aipl.benefits(coupons(), **SPAN, **asked)
    row = table.to_dicts()[0]
    assert [row[name] for name in ("issued", "issued_people", "issued_coupons", "claimed")] == [3, 2, 2, 1]
    assert [row[name] for name in ("used", "used_people", "used_coupons")] == [3, 2, 1]
    rates = [row[name] for name in ("claim_rate", "redemption_rate_of_issued", "redemption_rate_of_claimed", "orders_share")]
    assert rates == [pytest.approx(1 / 3), 1.0, 3.0, 0.5]
    assert (row["orders"], row["amount_driven"], row["discount"]) == (1, 27.0, 6.0)
    assert (table.audience("acme", "issued").ids(), table.audience("acme", "used").ids()) == (["u1", "u2"], ["u1", "u3"])
    groups = aipl.benefits(coupons(), **SPAN, **asked, by="customers")
    assert [[row[name] for name in ("customers", "issued", "used", "orders_share")] for row in groups.to_dicts()] == [
        ["new", 2, 3, 1.0], ["existing", 1, 0, 0.0],
    ]  # fmt: skip
    assert groups.audience("acme", "issued", "existing").ids() == ["u2"]
    stages = aipl.benefits(coupons(), **SPAN, **asked, by="stage", model=DATABANK)
    assert {row["stage"]: row["issued_people"] for row in stages.to_dicts()} == {"out": 1, "P": 1}
    bare = aipl.benefits(coupons(), **SPAN, used="use").to_dicts()[0]
    assert {bare[name] for name in ("issued", "claimed_people", "used_coupons", "claim_rate", "discount")} == {None}


def test_benefits_refuse_what_they_cannot_answer() -> None:
    for wrong, error, text in [
        ({"used": "uses"}, aipl.ParameterError, 'used: "uses" is not a behavior of the EventSchema'),
        ({"used": None}, TypeError, "used: a str is needed"),
        ({"coupon": "amount"}, aipl.ParameterError, 'coupon: "amount" is not a mapped label field'),
        ({"discount": "discont"}, aipl.ParameterError, 'discount: "discont" is no mapped measure'),
        ({"by": "stages"}, aipl.ParameterError, "by: 'stages' is not one of 'stage', 'customers'"),
        ({"by": "stage"}, aipl.ParameterError, "model: it is needed for by='stage'"),
        ({"model": DATABANK}, aipl.ParameterError, "model: it is needed for by='stage', and only for that"),
        ({"lookback": 0}, aipl.ParameterError, "lookback: 0 is not a whole number ≥ 1"),
    ]:
        with pytest.raises(error, match=text):
            aipl.benefits(coupons(), **{**SPAN, "used": "use", **wrong})
    with pytest.raises(aipl.ParameterError, match='"use" is not one of "issued", "claimed", "used"'):
        aipl.benefits(coupons(), **SPAN, used="use").audience("acme", "use")


def test_a_refund_gives_no_discount() -> None:
    rows = [("u1", "use", "2024-06-03", None, "o1"), ("u1", "purchase", "2024-06-03", 30.0, "o1", None, 5.0)]
    events = shop([*rows, ("u1", "refund", "2024-06-04", 10.0, "o1", None, 2.0)])
    assert aipl.benefits(events, **SPAN, used="use", discount="discount").to_dicts()[0]["discount"] == 5.0


def test_an_unknown_group_is_refused() -> None:
    table = aipl.benefits(coupons(), **SPAN, used="use", by="customers")
    with pytest.raises(aipl.ParameterError, match="group"):
        table.audience("acme", "used", "old")


# --- all of them ----------------------------------------------------------------------------------------------------


def answers(source: Any, case: Case, audience: aipl.Audience) -> list[aipl.Table]:
    """A table of each kind."""
    span = {"start": case.start, "end": case.end}
    track = aipl.cohort_track(source, case.model, audience, **span)
    return [
        track, track.summary(),
        aipl.retention(source, start=case.start - DAY * 40, end=case.end, unit="week"),
        aipl.retention(source, start=case.start - DAY * 40, end=case.end, unit="day", mode="rolling", kind="on_or_after"),
        aipl.membership(source, **span),
        aipl.benefits(source, **span, issued="issue", claimed="claim", used="use", coupon="coupon", discount="discount", by="customers"),
        aipl.benefits(source, **span, used="use", by="stage", model=case.model),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_answers_are_the_same_everywhere(seed: int, tmp_path: Path) -> None:
    case = Case(1200 + seed, states=False)
    audience, _ = case.audience()
    case.same_everywhere(tmp_path, lambda source: answers(source, case, audience))


@pytest.mark.parametrize("seed", range(4))
def test_persons_are_consumers(seed: int) -> None:
    case = Case(1250 + seed, states=False)
    case.same_for_persons(lambda source, audience: answers(source, case, audience))


def test_empty_sources_give_the_documented_columns() -> None:
    audience = aipl.snapshot(builders.from_rows(), DATABANK, as_of=AS_OF).audience("acme", "P")
    day, text, count, rate = pa.date32(), pa.string(), pa.int64(), pa.float64()
    people = "members_start members new_members lost_members fans_start fans new_fans lost_fans members_and_fans nonmember_visitors buyers"
    sides = [f"{side}_{what}" for what in ("frequency", "aov", "repurchase_rate") for side in ("member", "nonmember")]
    steps = [name for step in ("issued", "claimed", "used") for name in (step, f"{step}_people", f"{step}_coupons")]
    rates = ["claim_rate", "redemption_rate_of_issued", "redemption_rate_of_claimed"]
    for source in (shop([]), shop([]).load()):
        track = aipl.cohort_track(source, DATABANK, audience, days=[AS_OF])
        members, benefits = aipl.membership(source, **SPAN), aipl.benefits(source, **SPAN, used="use", by="customers")
        for table, columns in [
            (track, {"day": day, "scope": text, "stage": text, "consumers": count, "share": rate}),
            (track.summary(), {
                "day": day, "scope": text, "audience": count, "in_chain": count, "in_chain_share": rate, "bought": count,
                "bought_share": rate,
            }),
            (aipl.retention(source, **SPAN), {
                "scope": text, "cohort": day, "period": count, "cohort_size": count, "retained": count, "rate": rate,
                "complete": pa.bool_(),
            }),
            (members, {
                "scope": text, **dict.fromkeys(people.split(), count), "member_buyers": count, "nonmember_buyers": count,
                "member_repeat_buyers": count, "nonmember_repeat_buyers": count, "join_rate": rate, "member_buyers_share": rate,
                "orders": count, "member_orders": count, "nonmember_orders": count, "member_orders_share": rate,
                "gmv": rate, "member_gmv": rate, "nonmember_gmv": rate, "member_gmv_share": rate, **dict.fromkeys(sides, rate),
            }),
            (benefits, {
                "scope": text, "customers": text, **dict.fromkeys(steps, count), **dict.fromkeys(rates, rate), "orders": count,
                "orders_share": rate, "amount_driven": rate, "discount": rate,
            }),
        ]:  # fmt: skip
            assert len(table) == 0
            assert table.to_arrow().schema == pa.schema(columns)
