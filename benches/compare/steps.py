"""What a loaded log costs: load, warm snapshot, daily trend and flow, one after the other in one process.

What `over_time.py` starts for every repetition. Prints one line of JSON.
"""

import datetime as dt
import json
import sys
import time
from typing import Any

import aipl
from measure import peak_mib


def main() -> None:
    path, as_of, days, threads = sys.argv[1:]
    aipl.set_num_threads(int(threads))
    end = dt.date.fromisoformat(as_of)
    start = end - dt.timedelta(days=int(days) - 1)
    schema = aipl.EventSchema(
        consumer="user_id", brand="brand", behavior="action", time="ts", rating="rating", amount="amount"
    )
    events = aipl.scan_parquet(path, schema, tz="Asia/Shanghai")
    model = aipl.StageModel.preset("databank")
    seconds: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        begin = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - begin
        return result

    log = timed("load", events.load)
    loaded_mib = peak_mib()
    trend = timed("trend", lambda: aipl.trend(log, model, start=start, end=end))
    trend_mib = peak_mib()
    snapshot = timed("warm snapshot", lambda: aipl.snapshot(log, model, as_of=end))
    timed("flow", lambda: aipl.flow(log, model, start=end - dt.timedelta(days=30), end=end))
    counts = list(zip(*snapshot.counts().to_pydict().values(), strict=True))
    last = [row for row in zip(*trend.to_pydict().values(), strict=True) if row[0] == end]
    if sorted(row[1:] for row in last if row[3]) != sorted(row for row in counts if row[2]):
        raise SystemExit("the last day of the trend is not the snapshot of that day")
    result = {
        "seconds": seconds,
        "bytes_per_event": log.info()["bytes_per_event"],
        "log_mib": log.nbytes / 2**20,
        "loaded_mib": loaded_mib,
        "trend_mib": trend_mib,
        "peak_mib": peak_mib(),
        "counts": sorted(row for row in counts if row[2]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
