"""Every example in a docstring, run."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from pathlib import Path

import aipl
import pyarrow as pa
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
    return {
        "aipl": aipl, "json": json, "pyarrow": pa, "table": table, "schema": schema, "model": model, "events": events, "folder": folder,
    }  # fmt: skip


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
