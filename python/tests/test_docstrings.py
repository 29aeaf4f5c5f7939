"""Every example in a docstring, run."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from pathlib import Path

import aipl
import pyarrow as pa
import pyarrow.parquet  # examples read files with it
import pytest

MODULES = [f"aipl.{module.name}" for module in pkgutil.iter_modules(aipl.__path__) if module.name != "_core"]


def example_globals(folder: Path) -> dict[str, object]:
    """What the examples may use: five consumers of one brand, one in each stage but for two in Purchase."""
    rows = [
        ("u1", "impression", "2024-06-20"),
        ("u2", "favorite", "2024-06-29"),
        ("u3", "purchase", "2024-06-28"),
        ("u4", "purchase", "2024-01-05"),
        ("u5", "purchase", "2024-05-01"),
        ("u5", "purchase", "2024-06-01"),
    ]
    users, actions, days = zip(*rows, strict=True)
    table = pa.table({"user": users, "brand": ["acme"] * 6, "action": actions, "day": pa.array(days).cast(pa.date32())})
    schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day")
    model = aipl.StageModel.preset("databank")
    events = aipl.from_arrow(table, schema, tz="Asia/Shanghai")
    given = {
        "aipl": aipl, "json": json, "pyarrow": pa, "table": table, "schema": schema, "model": model, "events": events, "folder": folder,
    }  # fmt: skip
    return {**given, **money_examples(table)}


def money_examples(table: pa.Table) -> dict[str, object]:
    """The same purchases with amounts, channels and categories; a club of members; coupons."""
    columns = {"consumer": "user", "brand": "brand", "behavior": "action", "time": "day"}
    amounts = pa.array([None, None, 30.0, 20.0, 50.0, 50.0])
    labels = {"channel": ["app", "app", "app", "store", "app", "app"], "category": ["tea", "tea", "tea", "coffee", "tea", "tea"]}
    tagged = table.append_column("amount", amounts)
    for name, values in labels.items():
        tagged = tagged.append_column(name, pa.array(values))

    def log(rows: list[tuple[object, ...]], names: list[str], **more: object) -> aipl.Events:
        data = dict(zip(names, zip(*rows, strict=True), strict=True))
        days = pa.array(data.pop("day")).cast(pa.date32())
        full = pa.table({**data, "brand": ["acme"] * len(rows), "day": days})
        return aipl.from_arrow(full, aipl.EventSchema(**columns, **more), tz="Asia/Shanghai")

    clubs = [
        ("u1", "member_join", "2024-05-01", None),
        ("u2", "member_join", "2024-06-05", None),
        ("u1", "purchase", "2024-06-10", 30.0),
        ("u3", "purchase", "2024-06-11", 10.0),
    ]
    coupons = [
        ("u1", "coupon_issue", "2024-06-01", None, None, "c1"),
        ("u1", "coupon_issue", "2024-06-01", None, None, "c2"),
        ("u2", "coupon_issue", "2024-06-01", None, None, "c1"),
        ("u1", "coupon_use", "2024-06-02", None, "o1", "c1"),
        ("u1", "purchase", "2024-06-02", 30.0, "o1", None),
    ]
    more = {"attributes": {"coupon": "coupon"}, "own_behaviors": ["coupon_issue", "coupon_use"]}
    return {
        "spending": aipl.from_arrow(tagged, aipl.EventSchema(**columns, amount="amount"), tz="Asia/Shanghai"),
        "tagged": aipl.from_arrow(
            tagged, aipl.EventSchema(**columns, amount="amount", channel="channel", category="category"), tz="Asia/Shanghai"
        ),
        "clubs": log(clubs, ["user", "action", "day", "amount"], amount="amount"),
        "coupons": log(coupons, ["user", "action", "day", "amount", "order", "coupon"], amount="amount", order_id="order", **more),
    }


@pytest.mark.parametrize("name", ["aipl", *MODULES])
def test_examples_run(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    # Classes are documented under the name of the package, so they are looked for by where their code is.
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=flags)
    report: list[str] = []
    cases = finder.find(module, name, globs=example_globals(tmp_path))
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == "aipl" and name != "aipl":
            # Without a module the finder takes methods as well, whatever module their code names.
            cases += finder.find(value, f"{name}.{value.__name__}", module=False, globs=example_globals(tmp_path))
    for number, case in enumerate(cases):
        # What one example makes is not in the way of another.
        case.globs["folder"] = tmp_path / str(number)
        case.globs["folder"].mkdir()
        runner.run(case, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_every_public_name_has_an_example_or_is_an_error() -> None:
    for name in aipl.__all__:
        value = getattr(aipl, name)
        if isinstance(value, str) or (isinstance(value, type) and issubclass(value, (Exception, Warning))):
            continue
        assert ">>>" in (value.__doc__ or ""), name
