"""The snapshot in aipl."""

import datetime as dt
import importlib
from typing import Any

MODULE = "aipl"


def prepare(threads: int) -> Any:
    aipl = importlib.import_module("aipl")
    aipl.set_num_threads(threads)
    return aipl


def snapshot(aipl: Any, path: str, as_of: dt.date) -> Any:
    schema = aipl.EventSchema(consumer="user_id", brand="brand", behavior="action", time="ts", rating="rating")
    events = aipl.scan_parquet(path, schema, tz="Asia/Shanghai")
    return aipl.snapshot(events, aipl.StageModel.preset("databank"), as_of=as_of).counts()


def rows(table: Any) -> list[tuple[str, str, int]]:
    columns = importlib.import_module("pyarrow").table(table).to_pydict()
    return list(zip(columns["scope"], columns["stage"], columns["consumers"], strict=True))
