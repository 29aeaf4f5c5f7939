"""Arguments that the questions over time share."""

from __future__ import annotations

from collections.abc import Sequence

from aipl import _core
from aipl._arguments import Id, Scope, scope, scopes, text, type_error
from aipl._audience import Audience
from aipl._bank import DataBank
from aipl._errors import ParameterError
from aipl._events import Events
from aipl._log import EventLog
from aipl._model import StageModel
from aipl._plain import quoted

Source = Events | EventLog | DataBank


def source(value: object) -> Source:
    if not isinstance(value, Events | EventLog | DataBank):
        raise type_error("source", "Events (of scan_parquet, scan_ipc, scan_csv or from_arrow), an EventLog or a DataBank", value)
    return value


def model(value: object) -> StageModel:
    if not isinstance(value, StageModel):
        hint = f"; use StageModel.preset({quoted(value)})" if isinstance(value, str) else ""
        raise TypeError(f"model: a StageModel is needed, not {type(value).__name__}{hint}")
    return value


def one_or_more(value: Scope | Sequence[Scope] | None) -> tuple[list[tuple[Id, Id | None]] | None, bool]:
    """Scopes for the core, and whether one was named by itself: a tuple is one scope, a list several."""
    if value is None:
        return None, False
    if isinstance(value, list):
        return scopes("scope", value), False
    return [scope("scope", value)], True


def stages(name: str, value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [text(name, value)]
    if not isinstance(value, Sequence):
        raise type_error(name, "a stage or a list of stages", value)
    listed = [text(f"{name}[{at}]", item) for at, item in enumerate(value)]
    if not listed:
        raise ParameterError(f"{name}: the list of stages is empty")
    return listed


def audience(name: str, value: object) -> _core.Audience | None:
    if value is None:
        return None
    if not isinstance(value, Audience):
        raise type_error(name, "an Audience", value)
    return value._inner
