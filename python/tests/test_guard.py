"""No panic leaves a binding: each one is made to panic, and each one is looked at in the sources."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import builders
import pyarrow as pa
import pytest

import aipl
from aipl import _core
from aipl._options import read_options_of

SOURCES = Path(__file__).resolve().parents[2] / "aipl-py" / "src"


class Hands:
    """One of everything that a binding takes, by the name of the parameter."""

    def __init__(self, folder: Path) -> None:
        rows = [
            ("u1", "acme", "view", "2024-06-30"),
            ("u2", "acme", "purchase", "2024-06-29"),
            ("u3", "zeta", "view", "2024-06-30"),
        ]
        self.folder = folder
        self.table = pa.table(
            {name: list(values) for name, values in zip(("user", "brand", "action", "day"), zip(*rows))}
        )
        self.links = pa.table({"phone": ["13912345679", "13712345670"], "account": ["a1", "a2"]})
        self.table = self.table.append_column("amount", pa.array([1.0, 2.0, 3.0]))
        schema = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day", amount="amount")
        events = aipl.from_arrow(self.table, schema, tz="UTC")
        model = aipl.StageModel.preset("databank")
        snap = aipl.snapshot(events, model, as_of="2024-06-30")
        identity = aipl.resolve_identities(self.links, ["phone", "account"])
        bank = aipl.DataBank.create(folder / "bank", schema, tz="UTC", model=model)
        bank.ingest(events, batch_id="1")
        audience = snap.audience("acme", "A")
        numbers = pa.table({"left": pa.array([0, 1], pa.uint32()), "right": pa.array([1, 2], pa.uint32())})
        days = ("2024-06-01", "2024-06-30")
        flow = aipl.flow(events, model, start="2024-06-29", end="2024-06-30")
        self.selves: dict[str, Any] = {
            "Schema": schema._inner,
            "Events": events._inner,
            "EventLog": events.load()._inner,
            "DataBank": bank._inner,
            "StageModel": model._inner,
            "Snapshot": snap._inner,
            "Flow": flow._inner,
            "Audience": audience._inner,
            "Universe": snap.universe._inner,
            "IdentityMap": identity._inner,
            "Table": snap.labels()._inner,
            "Rows": _core.Rows.of_events(events._inner),
            "Attributes": aipl.attributes(pa.table({"user": ["u1"], "age": ["18"]}), consumer="user")._inner,
            "Measured": _core.new_vs_existing(events._inner, days, None, 365),
            "ReadOptions": read_options_of(None),
            "Rfm": _core.Rfm.ask(events._inner, "2024-06-30", None, 365, "mean"),
        }
        whole = self.selves
        self.values: dict[str, Any] = {
            "source": whole["Events"], "events": whole["Events"], "model": whole["StageModel"], "schema": whole["Schema"],
            "universe": whole["Universe"], "audience": whole["Audience"], "within": whole["Audience"], "other": whole["Audience"],
            "map": whole["IdentityMap"], "people": whole["IdentityMap"], "rows": whole["Rows"], "benchmark": whole["Flow"],
            "attributes": whole["Attributes"], "reference": None, "base": None, "data": self.table, "table": self.table,
            "links": numbers, "path": folder / "out", "paths": [str(folder / "x.parquet")], "columns": ["user"], "folder": "segments",
            "tz": "UTC", "raise_rejected": False, "delimiter": ord(","), "quote": ord('"'), "place": "a table", "again": True,
            "progress": None, "mode": "r", "timeout": 0.0, "batch_id": "b", "batch_ids": ["1"], "memory_limit": 1 << 30, "compact": False,
            "as_of": "2024-06-30", "start": "2024-06-29", "end": "2024-06-30", "before": "2024-01-01", "day": "2024-06-30",
            "days": days, "period": days, "periods": (days, days), "scope": ("acme", None), "scopes": None, "single": False,
            "consumer": "u1", "state": "state", "id": "u1", "ids": ["u1"], "values": ["u1"], "id_type": "account", "id_types": "[]",
            "column": None, "reject": False, "made": "made", "stage": "A", "name": "name", "version": None, "note": "", "seq": 1,
            "count": 1, "seed": 1, "limit": None, "requested_schema": None, "number": 0, "cell": [None], "kind": "champions",
            "text": "{}", "key": "k", "person": 1, "left": ("phone", "1"), "right": ("account", "1"), "rules": None,
            "how": (None, None, "UTC", False), "max_people_per_id": None, "max_component": None, "nodes": None, "n": 1,
            "from_stage": "A", "to_stages": ["P"], "from_stages": ["A"], "by": ["channel"], "measure": "stock", "step": "day",
            "brand": None, "panel": None, "force": False, "members": "member", "acts": None, "peak": False, "active_days": 30,
            "horizon": 365, "snapshots": 3, "every": 30, "category_spend": False, "method": "lmdi", "lookback": 365, "launch": None,
            "category": None, "behaviors": None, "unit": "month", "rolling": False, "on_or_after": False, "fans": "fan",
            "steps": (None, None, "use"), "coupon": None, "discount": None, "window": 365, "scheme": "mean", "thresholds": None,
            "given": None, "tags": None, "required": ("user", "brand", "action", "day"), "fields": {}, "own_behaviors": [],
            "time_unit": None,
        }  # fmt: skip
        self.values["options"] = whole["ReadOptions"]
        limits = ("columns", "depth", "metadata_bytes", "rows", "decoded_bytes")
        self.values |= {f"max_{name}": 1000 for name in limits} | {"verify_checksums": True}
        # Where one name means different things.
        self.special: dict[str, dict[str, Any]] = {
            "Attributes.read": {"consumer": "user"},
            "Audience.from_bytes": {"data": b"", "universe": None, "made": None},
            "Audience.of_type": {"values": ["u1"]},
            "DataBank.ingest_links": {"how": ((None, None, "UTC", False), False)},
            "DataBank.open": {"path": folder / "bank"},
            "Events.from_arrow": {"rows": None},
            "Events.with_states": {"scope": ["brand"]},
            "IdentityMap.resolve": {"id_types": '["phone"]'},
            "Rows.of_arrow": {"rows": None},
            "Schema.__new__": {"attributes": {}},
            "Table.of_texts": {"columns": ["a"], "rows": [["x"]]},
            "Universe.from_bytes": {"data": b""},
            "benefits": {"by": None, "model": None},
            "concentration": {"step": "month"},
            "crosstab": {"rows": "a", "columns": "b", "measure": "consumers"},
            "flow_triangle": {"days": ["2024-06-29", "2024-06-30"]},
            "cohort_track": {"days": ["2024-06-29", "2024-06-30"]},
            "grow_opportunity": {"benchmark": "mean"},
            "profile": {"base": None},
            "retention": {"behaviors": ["purchase"]},
            "transition_drivers": {"by": "behavior"},
            "StageModel.__eq__": {"other": whole["StageModel"]},
        }

    def of(self, where: str, function: Any) -> list[Any]:
        """Arguments of a binding, by their names."""
        own = self.special.get(where, {})
        names = [name for name in inspect.signature(function).parameters if name not in ("self", "/")]
        missing = [name for name in names if name not in own and name not in self.values]
        assert not missing, f"{where}: give the tests a value for {missing}"
        return [own.get(name, self.values.get(name)) for name in names]


# Special methods that every Python type has, and that no Rust code stands behind.
INHERITED = {name for kind in (object, type) for name in dir(kind)} - {"__eq__", "__new__"}


def cases(hands: Hands) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every callable, property and special method of the extension module."""
    for name in _core.__all__:
        found = getattr(_core, name)
        if isinstance(found, type):
            yield from of_class(hands, name, found)
        elif callable(found):
            yield name, lambda found=found, name=name: found(*hands.of(name, found))


def of_class(hands: Hands, name: str, kind: type) -> Iterator[tuple[str, Callable[[], object]]]:
    itself = hands.selves[name]
    assert type(itself) is kind
    for attribute, raw in vars(kind).items():
        where = f"{name}.{attribute}"
        if inspect.isgetsetdescriptor(raw):
            yield where, lambda attribute=attribute: getattr(itself, attribute)
        elif attribute == "__new__":
            yield where, lambda where=where: kind(*hands.of(where, kind))
        elif attribute == "__len__":
            yield where, lambda: len(itself)
        elif attribute == "__eq__":
            yield where, lambda: itself == itself
        elif attribute in INHERITED or attribute in (
            "__doc__",
            "__module__",
            "__ne__",
            "__lt__",
            "__le__",
            "__gt__",
            "__ge__",
            "__hash__",
        ):
            continue
        else:
            call = getattr(itself, attribute)
            assert callable(call), where
            yield where, lambda call=call, where=where: call(*hands.of(where, call))


def test_every_binding_turns_a_panic_into_an_internal_error(tmp_path: Path) -> None:
    hands, seen = Hands(tmp_path), []
    for where, call in cases(hands):
        _core.panic_next()
        with pytest.raises(
            aipl.InternalError, match="a fault in aipl itself, please report it: asked to panic"
        ) as caught:
            call()
        assert isinstance(caught.value, Exception), where
        seen.append(where)
    assert len(seen) == len(set(seen)) and len(seen) >= 150, len(seen)
    # Every handle is as it was.
    assert hands.selves["DataBank"].commit == 2 and len(hands.selves["Table"]) == 3
    assert hands.selves["Table"].to_pydict()["consumer"] == ["u1", "u2", "u3"]
    assert hands.selves["Audience"].ids() == ["u1"]


def test_a_stream_that_panics_ends_in_an_error_of_its_reader() -> None:
    labels = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of="2024-06-30").labels()
    reader = pa.RecordBatchReader.from_stream(labels)
    _core.panic_next()
    with pytest.raises(Exception, match="a fault in aipl itself, please report it"):
        reader.read_all()
    assert labels.to_arrow().num_rows == len(labels)


ITEM = re.compile(r"^( *)(?:pub )?fn (\w+)[^{]*\{\n(.*?)^\1\}", re.MULTILINE | re.DOTALL)
GUARDED = re.compile(r"\s*(guard|guarded|detached|quick)\(")


def is_guarded(body: str) -> bool:
    """Whether a body is one guarded expression, with nothing before or after it."""
    indent = len(body) - len(body.lstrip(" "))
    return bool(GUARDED.match(body)) and not re.search(rf"^ {{{indent}}}\S.*;$", body, re.MULTILINE)


def bindings(text: str) -> Iterator[tuple[str, str]]:
    """Functions that Python calls, with their bodies."""
    for block in re.finditer(r"^#\[pymethods\]\nimpl .*?^\}", text, re.MULTILINE | re.DOTALL):
        for found in ITEM.finditer(block[0]):
            yield found[2], found[3]
    for start in re.finditer(r"^#\[pyfunction\]", text, re.MULTILINE):
        found = ITEM.search(text, start.end())
        assert found is not None
        yield found[2], found[3]


@pytest.mark.skipif(not SOURCES.is_dir(), reason="the sources are not here")
def test_every_binding_is_one_guarded_expression() -> None:
    found = [
        (path.name, name, body) for path in sorted(SOURCES.glob("*.rs")) for name, body in bindings(path.read_text())
    ]
    bare = [f"{file}: {name}" for file, name, body in found if not is_guarded(body)]
    assert not bare, bare
    assert len(found) >= 150
    # Parts that a derive would write have no guard.
    derived = [
        path.name
        for path in SOURCES.glob("*.rs")
        if re.search(r"#\[pyclass\([^)]*\b(eq|ord|hash|str|get_all|set_all)\b", path.read_text())
    ]
    assert not derived, derived
