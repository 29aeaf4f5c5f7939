"""Cohorts, retention, members and benefits once more, from the page "Consumer assets" alone: the rest of the oracle in `naive_health`."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from naive_health import DAY, Answer, Log, People, Row, buyers, money, ratio, total


def cohort_track(log: Log, scopes: list[str], audience: set[Any], looked: list[dt.date]) -> tuple[list[Row], list[Row], People]:
    """The stages of an audience on later days, and the summary."""
    rows, summary, people = [], [], {}
    size = len(audience)
    for day in looked:
        entries = log.entries(looked[0], day, looked[-1])
        for scope in scopes:
            held = {who: stage for who, stage in log.stages(day, scope).items() if who in audience}
            for stage in (*log.codes, "out"):
                who = {who for who in audience if held.get(who, "out") == stage}
                people[scope, day, stage] = who
                rows.append({"day": day, "scope": scope, "stage": stage, "consumers": len(who), "share": ratio(len(who), size)})
            bought = buyers([entry for entry in entries if entry.scope == scope]) & audience
            people[scope, day, "bought"] = bought
            people[scope, day, "in_chain"] = set(held)
            row = {"day": day, "scope": scope, "audience": size, "in_chain": len(held), "in_chain_share": ratio(len(held), size)}
            summary.append({**row, "bought": len(bought), "bought_share": ratio(len(bought), size)})
    return rows, summary, people


def unit_of(day: dt.date, unit: str) -> dt.date:
    """The first day of the calendar unit of a day."""
    return {"day": day, "week": day - DAY * day.weekday(), "month": day.replace(day=1)}[unit]


def next_unit(first: dt.date, unit: str) -> dt.date:
    """The first day of the next calendar unit."""
    return unit_of(first + DAY * {"day": 1, "week": 7, "month": 31}[unit], unit)


def retention(
    log: Log, scopes: list[str], start: dt.date, end: dt.date, *, unit: str = "month", mode: str = "calendar", kind: str = "exact",
    behaviors: Iterable[str] = ("purchase",),
) -> Answer:  # fmt: skip
    """Cohorts, and who of them came back."""
    rows: list[Row] = []
    people: People = {}
    for scope in scopes:
        acts: dict[Any, list[dt.date]] = defaultdict(list)
        for event in log.within(scope, dt.date.min, end):
            if event["behavior"] in behaviors:
                acts[event["consumer"]].append(event["day"])
        cohorts: dict[dt.date, set[Any]] = defaultdict(set)
        for who, done in acts.items():
            if done[0] >= start:
                cohorts[unit_of(done[0], unit)].add(who)
        for cohort, members in sorted(cohorts.items()):
            people[scope, cohort] = members
            spans = {who: periods(acts[who][0], end, unit, mode) for who in members}
            for at in range(max(map(len, spans.values()))):
                # Who has no such period within the range has one that lies beyond it.
                reached = {who: span[at] for who, span in spans.items() if at < len(span)}
                back = {
                    who
                    for who, (first, last) in reached.items()
                    if any(acts[who][0] < day and first <= day and (kind == "on_or_after" or day <= last) for day in acts[who])
                }
                people[scope, cohort, at] = back
                row = {"scope": scope, "cohort": cohort, "period": at, "cohort_size": len(members), "retained": len(back)}
                complete = len(reached) == len(members) and all(last <= end for _, last in reached.values())
                rows.append({**row, "rate": ratio(len(back), len(members)), "complete": complete})
    return rows, people


def periods(first: dt.date, end: dt.date, unit: str, mode: str) -> list[tuple[dt.date, dt.date]]:
    """First and last days of a consumer's periods that begin by the end."""
    found = []
    length = DAY * {"day": 1, "week": 7, "month": 30}[unit]
    begin = first if mode == "rolling" else unit_of(first, unit)
    while begin <= end:
        after = begin + length if mode == "rolling" else next_unit(begin, unit)
        found.append((begin, after - DAY))
        begin = after
    return found


# --- members and benefits -------------------------------------------------------------------------------------------


def membership(log: Log, scopes: list[str], start: dt.date, end: dt.date, members: str = "member", fans: str = "fan") -> Answer:
    """Members and fans at both ends of a period, and what members bought in it."""
    rows, people = [], {}
    for scope in scopes:
        before, now = log.holders(members, start - DAY, scope), log.holders(members, end, scope)
        fans_before, fans_now = log.holders(fans, start - DAY, scope), log.holders(fans, end, scope)
        entries = [entry for entry in log.entries(start, end) if entry.scope == scope]
        orders = [entry for entry in entries if entry.stands]
        inside = [entry for entry in entries if entry.consumer in log.holders(members, entry.day, scope)]
        sides = {"member": inside, "nonmember": [entry for entry in entries if entry not in inside]}
        found = {
            "members_start": before, "members": now, "new_members": now - before, "lost_members": before - now,
            "fans_start": fans_before, "fans": fans_now, "new_fans": fans_now - fans_before, "lost_fans": fans_before - fans_now,
            "members_and_fans": now & fans_now, "nonmember_visitors": log.doers(scope, start, end) - before,
            "buyers": buyers(orders), "member_buyers": buyers(sides["member"]), "nonmember_buyers": buyers(sides["nonmember"]),
        }  # fmt: skip
        for side, part in sides.items():
            days_of = Counter(who for who, _ in {(entry.consumer, entry.day) for entry in part if entry.stands})
            found[f"{side}_repeat_buyers"] = {who for who, days in days_of.items() if days > 1}
        people.update({(scope, who): found[who] for who in found})
        row: Row = {"scope": scope, **{who: len(found[who]) for who in found}}
        row["join_rate"] = ratio(row["new_members"], row["nonmember_visitors"])
        row["member_buyers_share"] = ratio(row["member_buyers"], row["buyers"])
        row |= {"orders": len(orders), "gmv": float(total(entries))}
        for side, part in sides.items():
            row |= {f"{side}_orders": sum(entry.stands for entry in part), f"{side}_gmv": float(total(part))}
        for what in ("orders", "gmv"):
            row[f"member_{what}_share"] = ratio(row[f"member_{what}"], row[what])
        for side, part in sides.items():
            stand = [entry for entry in part if entry.stands]
            row[f"{side}_frequency"] = ratio(len(stand), len(buyers(part)))
            row[f"{side}_aov"] = ratio(total(part), len(stand))
            row[f"{side}_repurchase_rate"] = ratio(len(found[f"{side}_repeat_buyers"]), len(buyers(part)))
        rows.append(row)
    return rows, people


def benefits(
    log: Log, scopes: list[str], start: dt.date, end: dt.date, steps: dict[str, str | None], *, coupon: str | None = None,
    discount: str | None = None, by: str | None = None, lookback: int = 365,
) -> Answer:  # fmt: skip
    """Coupons from issue to use, for every group that there could be."""
    rows, people = [], {}
    for scope in scopes:
        past = buyers([entry for entry in log.entries(start - DAY * lookback, start - DAY, end) if entry.scope == scope])
        group_of: dict[Any, str | None] = {event["consumer"]: None for event in log.events}
        if by is not None:
            stages = log.stages(start - DAY, scope)
            group_of = {who: stages.get(who, "out") if by == "stage" else "existing" if who in past else "new" for who in group_of}
        for group in {None: [None], "stage": [*log.codes, "out"], "customers": ["new", "existing"]}[by]:
            events = [event for event in log.within(scope, start, end) if group_of[event["consumer"]] == group]
            entries = [entry for entry in log.entries(start, end) if entry.scope == scope and group_of[entry.consumer] == group]
            row: Row = {"scope": scope} if by is None else {"scope": scope, by: group}
            for step, behavior in steps.items():
                done = [event for event in events if event["behavior"] == behavior]
                row |= dict.fromkeys((step, f"{step}_people", f"{step}_coupons"))
                if behavior is not None:
                    people[(scope, step) if by is None else (scope, step, group)] = {event["consumer"] for event in done}
                    row |= {step: len(done), f"{step}_people": len({event["consumer"] for event in done})}
                    if coupon is not None:
                        row[f"{step}_coupons"] = len({event[coupon] for event in done} - {None})
            row["claim_rate"] = ratio(row["claimed"], row["issued"])
            row["redemption_rate_of_issued"] = ratio(row["used"], row["issued"])
            row["redemption_rate_of_claimed"] = ratio(row["used"], row["claimed"])
            uses = [event for event in events if event["behavior"] == steps["used"]]
            named = {(event["consumer"], event["order_id"]) for event in uses if event["order_id"]}
            driven = [entry for entry in entries if (entry.consumer, entry.name) in named]
            row["orders"] = sum(entry.stands for entry in driven)
            row["orders_share"] = ratio(row["orders"], sum(entry.stands for entry in entries))
            row["amount_driven"] = float(total(driven) + sum(money(event["amount"]) for event in uses if not event["order_id"]))
            row["discount"] = None
            if discount is not None:
                standing = {(entry.consumer, entry.name) for entry in driven if entry.stands}
                lines = [event for event in events if event["behavior"] == "purchase" and (event["consumer"], event["order_id"]) in standing]
                row["discount"] = float(sum(money(event[discount]) for event in uses + lines))
            rows.append(row)
    return rows, people
