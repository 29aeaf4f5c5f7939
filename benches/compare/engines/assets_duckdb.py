"""Consumer assets in DuckDB: a table in memory, loaded once, and SQL that was written for each measure.

The table that was kept: small types (an ENUM for texts, a place among the behaviors, an exact DECIMAL for money, a four-byte number for
consumers where they are numbers), and the day beside the time. Tried and slower: texts (2.5 times as long), behaviors as an ENUM, which
filters ask one by one, eight-byte numbers for consumers. Tried and no faster: money as DOUBLE or whole cents.
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

from engines.assets_questions import ACTIVE_DAYS, BOUGHT_BY, BRAND
from engines.assets_sql import QUERIES
from engines.stages_sql import ACTIONS, LOYAL, PURCHASE, before, between

MODULE = "duckdb"
# `sql` binds a query twice but hands a table over as it is; `execute` binds it once, and copies the table. Each is used where it is faster.
LONG = ("rfm",)


class Engine:
    """One process's table."""

    def __init__(self, path: str, threads: int, clustered: bool) -> None:
        self.path = path
        self.clustered = clustered
        warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
        self.connection = importlib.import_module(MODULE).connect()
        self.connection.execute(f"SET threads = {threads}")
        self.connection.execute("SET preserve_insertion_order = false")

    def load(self) -> None:
        """Reads the events, in the order of the files or, if that is asked for, of behavior and day."""
        run, files = self.connection.execute, f"read_parquet('{self.path}')"
        for column in ("brand", "category", "channel"):
            run(f"CREATE TYPE {column}_t AS ENUM (SELECT DISTINCT {column} FROM {files} ORDER BY 1)")
        run(f"CREATE TYPE action_t AS ENUM ({', '.join(map(repr, ACTIONS))})")
        (kind,) = run(f"SELECT any_value(typeof(user_id)) FROM {files}").fetchone()
        (small,) = run(f"SELECT max(user_id) < 2147483648 FROM {files}").fetchone() if kind == "BIGINT" else (False,)
        run(
            f"""CREATE TABLE events AS
            SELECT user_id{"::INTEGER" if small else ""} AS user_id, brand::brand_t AS brand, enum_code(action::action_t)::UTINYINT AS act,
              ts, ts::DATE AS day, rating, amount::DECIMAL(9, 2) AS amount, category::category_t AS category,
              channel::channel_t AS channel, order_id
            FROM {files} {"ORDER BY act, day" if self.clustered else ""}"""
        )

    def warm_up(self) -> None:
        """Finds the audiences; the first question of a process, which is not measured."""
        since = before(BOUGHT_BY, ACTIVE_DAYS)
        bought = f"FROM events WHERE brand = '{BRAND}' AND {PURCHASE} AND {between(since, BOUGHT_BY)}"
        self.connection.execute(f"CREATE TABLE loyal AS {LOYAL}")
        self.connection.execute(f"CREATE TABLE buyers AS SELECT DISTINCT user_id {bought}")

    def formulations(self, measure: str) -> dict[str, Callable[[], Any]]:
        """Ways to ask, each up to a finished Arrow table."""

        def asked(query: str) -> Callable[[], Any]:
            if measure in LONG:
                return lambda: self.connection.sql(query).to_arrow_table()
            return lambda: self.connection.execute(query).to_arrow_table()

        return {name: asked(query) for name, query in QUERIES[measure]().items()}

    def table(self, measure: str, answer: Any) -> Any:
        """An answer as an Arrow table, which it is."""
        del measure
        return answer
