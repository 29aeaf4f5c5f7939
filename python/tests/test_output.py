"""What leaves the process: files for their owner alone, text that no terminal obeys, cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import builders
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aipl
from aipl._plain import cell, json_text, plain, quoted

ESC = "\x1b]0;pwned\x07\x1b[2J\x1b[31m"
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
FORMULA = "=cmd|'/C calc'!A0"
EVERY = ESC + "".join(
    map(chr, [*range(1, 32), 0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def hostile() -> pa.Table:
    brands = ["<script>alert(1)</script>", ESC, FORMULA, "\u202eacme"]
    return pa.table(
        {
            "user": ["u1", "u2", "u3", "u4"],
            "brand": brands,
            "action": ["view"] * 4,
            "day": ["2024-06-30"] * 4,
            "touchpoint": brands,
        }
    )


SCHEMA = aipl.EventSchema(consumer="user", brand="brand", behavior="action", time="day", touchpoint="touchpoint")


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    with aipl.DataBank.create(tmp_path / "bank", SCHEMA, tz="UTC", model=builders.DATABANK) as bank:
        bank.ingest(hostile(), batch_id=ESC + FORMULA)
        bank.save_audience(
            FORMULA, aipl.snapshot(bank, builders.DATABANK, as_of="2024-06-30").audience(FORMULA, "A"), note=ESC
        )
    return tmp_path / "bank"


def command(*arguments: object, expected: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "aipl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == expected, done.stderr
    return done


# ---- files


@pytest.mark.usefixtures("open_umask")
def test_files_that_hold_ids_are_for_their_owner_alone(tmp_path: Path, bank: Path) -> None:
    identity = aipl.resolve_identities(pa.table({"phone": ["13912345679"], "account": ["a1"]}), ["phone", "account"])
    identity.to_parquet(tmp_path / "identity.parquet")
    labels = aipl.snapshot(aipl.DataBank.open(bank), builders.DATABANK, as_of="2024-06-30").labels()
    labels._inner.write_parquet(tmp_path / "labels.parquet")
    written = [tmp_path / "identity.parquet", tmp_path / "labels.parquet"]
    for ending in ("csv", "json", "parquet"):
        written.append(tmp_path / f"out.{ending}")
        command("snapshot", bank, "--as-of", "2024-06-30", "--labels", "--out", written[-1])
        written.append(tmp_path / f"audience.{ending}")
        command("audience", "export", bank, FORMULA, "--out", written[-1])
    aipl.DataBank.open(bank).backup(tmp_path / "copy")
    written += [path for folder in (bank, tmp_path / "copy") for path in folder.rglob("*") if path.is_file()]
    assert {path.name: oct(mode(path)) for path in written if mode(path) != 0o600} == {}
    assert len(written) > 12


@pytest.mark.usefixtures("open_umask")
def test_a_file_that_was_open_to_all_is_closed(tmp_path: Path, bank: Path) -> None:
    labels = aipl.snapshot(aipl.DataBank.open(bank), builders.DATABANK, as_of="2024-06-30").labels()
    for ending in ("parquet", "csv"):
        path = tmp_path / f"was.{ending}"
        path.write_bytes(b"old")
        path.chmod(0o666)
        if ending == "csv":
            command("snapshot", bank, "--as-of", "2024-06-30", "--out", path)
        else:
            labels._inner.write_parquet(path)
        assert mode(path) == 0o600 and path.read_bytes() != b"old"
    assert pq.read_table(tmp_path / "was.parquet").num_rows == 4


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    counts = aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of="2024-06-30").counts()
    with pytest.raises(aipl.SourceError):
        counts._inner.write_parquet(tmp_path / "none" / "x.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(aipl.SourceError):
        counts._inner.write_parquet(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# ---- terminals


def test_no_repr_and_no_page_steers_a_terminal(bank: Path, tmp_path: Path) -> None:
    events = aipl.from_arrow(hostile(), SCHEMA, tz="UTC")
    log = events.load()
    snap = aipl.snapshot(log, builders.DATABANK, as_of="2024-06-30")
    flow = aipl.flow(log, builders.DATABANK, start="2024-06-29", end="2024-06-30", scope=ESC)
    odd = tmp_path / "odd\x1b[2J"
    odd.mkdir()
    pq.write_table(hostile(), odd / "e.parquet")
    tags = aipl.attributes(pa.table({"user": ["u1"], ESC: ["1"]}), consumer="user")
    things: list[object] = [
        events, log, snap, flow, snap.counts(), snap.labels(), flow.matrix(), snap.universe, snap.audience(ESC, "A"), tags, snap.report,
        aipl.scan_parquet(odd, SCHEMA, tz="UTC"), aipl.timeline(log, consumer="u2"), aipl.timeline(log, consumer="u2", scope=ESC),
        aipl.DataBank.open(bank), SCHEMA, builders.DATABANK, aipl.DataBank.open(bank).audience(FORMULA),
        aipl.IdType(ESC, normalize="text") if "text" in aipl._core.IdentityMap.normalizers() else SCHEMA,
    ]  # fmt: skip
    for thing in things:
        assert not HARMFUL.search(repr(thing)) and not HARMFUL.search(str(thing)), type(thing)
        page = getattr(thing, "_repr_html_", str)()
        assert not HARMFUL.search(page) and "<script" not in page, type(thing)


def test_no_error_steers_a_terminal(tmp_path: Path) -> None:
    odd = tmp_path / "\x1b[2J"
    odd.mkdir()
    (odd / "x.parquet").write_bytes(b"PAR1 no")
    calls: list[Callable[[], object]] = [
        lambda: aipl.scan_parquet(odd / "x.parquet", SCHEMA, tz="UTC"),
        lambda: aipl.scan_parquet(odd / "none.parquet", SCHEMA, tz="UTC"),
        lambda: aipl.from_arrow(pa.table({EVERY: [1]}), SCHEMA, tz="UTC"),
        lambda: aipl.StageModel.preset(EVERY),
        lambda: aipl.StageModel.from_toml(f"{EVERY} = 1"),
        lambda: aipl.DataBank.open(odd),
        lambda: aipl.snapshot(builders.from_rows(), builders.DATABANK, as_of=EVERY),
    ]
    for call in calls:
        with pytest.raises(aipl.AiplError) as caught:
            call()
        assert not HARMFUL.search(str(caught.value))
        assert not HARMFUL.search(repr(caught.value))


def test_the_command_line_prints_nothing_that_a_terminal_obeys(bank: Path) -> None:
    for arguments, expected in (
        (("snapshot", bank, "--as-of", "2024-06-30"), 0),
        (("snapshot", bank, "--as-of", "2024-06-30", "--labels"), 0),
        (("audience", "list", bank), 0),
        (("audience", "export", bank, FORMULA), 0),
        (("info", bank), 0),
        (("snapshot", bank, "--as-of", "2024-06-30", "--scope", ESC + "z"), None),
        (("audience", "export", bank, ESC), 1),
        (("info", str(bank) + ESC), 1),
        (("snapshot", bank, "--as-of", ESC), 1),
        (("ingest", bank, "x.parquet", "--batch-id", "1", "--memory-limit", ESC), 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "aipl", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert expected is None or done.returncode == expected, done.stderr
        assert not HARMFUL.search(done.stdout + done.stderr), arguments


def test_plain_text_shows_what_it_hides() -> None:
    assert plain(EVERY + "中文 acme é") == plain(EVERY) + "中文 acme é"
    assert not HARMFUL.search(plain(EVERY)) and "\n" not in plain("\n")
    assert plain("\u202eabc\x9b2J") == "\\u202eabc\\x9b2J" and plain("a\nb", keep="\n") == "a\nb"
    assert len(quoted("x" * 10**6)) < 70
    assert json.loads(json_text({"a": EVERY})) == {"a": EVERY} and not HARMFUL.search(json_text([EVERY], indent=1))


# ---- spreadsheets


@pytest.mark.parametrize(
    "lead", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", " =", "\t=", " \uff1d"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_guarded(lead: str) -> None:
    assert cell(f"{lead}1+1").startswith("'")


def test_csv_files_are_guarded_and_raw_ones_are_as_they_are(bank: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    command("snapshot", bank, "--as-of", "2024-06-30", "--out", out)
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["scope", "stage", "consumers"] and {row[2] for row in rows[1:]} == {"0", "1"}
    assert {row[0] for row in rows[1:]} == {"<script>alert(1)</script>", plain(ESC), f"'{FORMULA}", "\\u202eacme"}
    command("snapshot", bank, "--as-of", "2024-06-30", "--out", out, "--raw")
    with out.open(newline="", encoding="utf-8") as file:
        assert {row[0] for row in list(csv.reader(file))[1:]} == set(hostile()["brand"].to_pylist())


def test_headers_are_guarded_and_numbers_stay_numbers(tmp_path: Path) -> None:
    from aipl._command_line import _Output, _write_csv

    output = _Output(
        rows=[{FORMULA: -5, ESC: "-5", "amount": -1.5, "none": None}], columns=(FORMULA, ESC, "amount", "none")
    )
    _write_csv(output, tmp_path / "x.csv", raw=False)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [[f"'{FORMULA}", plain(ESC), "amount", "none"], ["-5", "'-5", "-1.5", ""]]
