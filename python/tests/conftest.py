"""Fixtures shared by the tests of the Python package."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds a real event log by file name, or skips the test: these logs may not be redistributed.

    They are looked for in the folder that AIPL_SHARED_DATA names, else in `../shared/data` beside the repository.
    """
    named = os.environ.get("AIPL_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"{name} is not in {folder}; name its folder in AIPL_SHARED_DATA")
        return path

    return find


def build_events_table(rows: Iterable[tuple], columns: Iterable[str] = ("user", "brand", "behavior", "time")) -> pa.Table:
    """A pyarrow table of `rows`, column types inferred from the values.

    >>> build_events_table([("u1", "Acme", "view", datetime.date(2024, 6, 30))]).num_rows
    1
    """
    names = list(columns)
    rows = list(rows)
    for row in rows:
        if len(row) != len(names):
            raise ValueError(f"{row!r} has {len(row)} values for {len(names)} columns")
    return pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)})


@pytest.fixture(scope="session")
def events_table() -> Callable[..., pa.Table]:
    """`build_events_table` as a fixture."""
    return build_events_table
