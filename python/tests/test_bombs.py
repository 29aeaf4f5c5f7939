"""Models, stored maps and behaviors of absurd size end in a typed error or an answer: soon, and in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import json, resource, sys, time, warnings
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
import pyarrow as pa, pyarrow.parquet as pq
import aipl
warnings.simplefilter("ignore")
folder = sys.argv[1]
SCHEMA = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day")
MAP = (aipl.AiplError,)
VIEW = {"behaviors": ["view"]}

def model(rules, name="m"):
    stages = [{"code": "A", "name": "a", "any": rules}, {"code": "B", "name": "b", "any": [VIEW]}]
    return aipl.StageModel.from_dict({"id": name, "stage": stages})

def halves(depth):
    if depth > 17:
        return {"behaviors": ["view"], "days": depth + 1}
    return {"all": [halves(depth + 1), {"any": [halves(depth + 1)]}]}

def negated(depth):
    rule = VIEW
    for _ in range(depth):
        rule = {"not": rule}
    return rule

def stored_map(**changed):
    people = aipl.resolve_identities(pa.table({"phone": ["13912345679"], "device": ["d1"]}), ["phone", "device"])
    table = people.to_arrow()
    metadata = {key: value for key, value in table.schema.metadata.items() if key == b"aipl.identity"}
    rules = json.loads(metadata[b"aipl.identity"])
    rules.update(changed)
    metadata[b"aipl.identity"] = json.dumps(rules).encode()
    path = folder + "/map.parquet"
    pq.write_table(table.replace_schema_metadata(metadata), path)
    people = aipl.IdentityMap.from_parquet(path)
    return len(people), len(people.persons()), people.report()["rows"]

def refused(work, kinds=(aipl.ModelError,)):
    started = time.monotonic()
    try:
        work()
    except kinds as error:
        assert len(str(error)) < 2000, len(str(error))
    else:
        sys.exit("accepted")
    assert time.monotonic() - started < 20
"""
REFUSED = {
    "rules in rules, deep": "refused(lambda: model([negated(100_000)]), MAP)",
    "rules in rules, wide": "refused(lambda: model([halves(0)]))",
    "a million rules": "refused(lambda: model([{**VIEW, 'days': 1 + n % 80_000} for n in range(10**6)]))",
    "a million equal rules": "refused(lambda: model([{**VIEW, 'days': 5}] * 10**6))",
    "a long name": "refused(lambda: model([VIEW], 'm' * (1 << 28)))",
    "deep lists of TOML": "refused(lambda: aipl.StageModel.from_toml('x = ' + '[' * 100_000 + ']' * 100_000))",
    "deep tables of TOML": "refused(lambda: aipl.StageModel.from_toml('[' + '.'.join(['a'] * 100_000) + ']\\n'))",
    "dotted keys of TOML": "refused(lambda: aipl.StageModel.from_toml('a' + '.a' * 200_000 + ' = 1\\n'))",
    "deep lists of JSON": "refused(lambda: aipl.StageModel.from_json('[' * 1_000_000))",
    "a map of many batches": "refused(lambda: stored_map(batches=10**8), MAP)",
    "a map of all batches there can be": "refused(lambda: stored_map(batches=10**18), MAP)",
    "a map of many blank values": "refused(lambda: stored_map(blanks=[2**64 - 1] * 2), MAP)",
    "a map of many types": "refused(lambda: stored_map(id_types=[{'name': f't{n}'} for n in range(300)]), MAP)",
    "a map of guards of 0": "refused(lambda: stored_map(max_people_per_id=0, max_component=0), MAP)",
}


def run(program: str, folder: Path, bound: float = 60) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, str(folder)],
        capture_output=True,
        text=True,
        timeout=bound,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_too_much_is_refused(case: str, tmp_path: Path) -> None:
    run(case, tmp_path)


def test_what_a_stored_map_may_have_is_read(tmp_path: Path) -> None:
    run("assert stored_map() == (1, 2, 1), stored_map()", tmp_path)
    run("assert stored_map(sources=['s'] * 10**6)[0] == 1", tmp_path)


LONG = """
NAMES = aipl.EventSchema(consumer="u", brand="b", behavior="a", time="t")

def check(scan, limit):
    started = time.monotonic()
    report = json.dumps(scan("reject").validate().to_dict())
    assert len(report) < 20_000, len(report)
    try:
        scan("raise").validate()
    except aipl.AiplError as error:
        assert len(str(error)) < 2_000, len(str(error))
    else:
        sys.exit("accepted")
    spent = time.monotonic() - started
    assert spent < limit, spent

def rows(values):
    count = len(values)
    return pa.table({"u": ["u"] * count, "b": ["x"] * count, "a": values, "t": ["2024-06-30"] * count})

"""
MEMORY = """
def check_memory(count, size):
    table = rows([f"{n}" + "x" * size for n in range(count)])
    check(lambda on_error: aipl.from_arrow(table, NAMES, tz="UTC", on_error=on_error), 20)
"""


@pytest.mark.parametrize(
    ("count", "size"),
    [(20_000, 16), (20_000, 1_000), (2_000, 10_000), (20, 100_000), (5, 1_000_000)],
)
def test_behaviors_that_are_none_take_little_time_and_words(
    count: int, size: int, tmp_path: Path
) -> None:
    run(LONG + MEMORY + f"check_memory({count}, {size})", tmp_path)


HUGE = """
def huge():
    table = rows(["y"] * 1_000)
    value = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["y" * (64 << 20)]))
    return table.set_column(2, "a", value)

path = folder + "/events.parquet"
pq.write_table(huge(), path, compression="zstd")
check(lambda on_error: aipl.scan_parquet(path, NAMES, tz="UTC", on_error=on_error), 40)
"""


def test_huge_behaviors_in_a_small_file_take_little_time_and_words(
    tmp_path: Path,
) -> None:
    run(LONG + HUGE, tmp_path, 120)
