"""A bank on the command line: one command a step of a nightly job."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, TextIO

from aipl import _core
from aipl._arguments import Scope
from aipl._bank import DataBank
from aipl._errors import AiplError, CorruptStoreError, NoSpaceError, ParameterError, RejectedRowsWarning, StoreLockedError
from aipl._events import Events, scan_csv, scan_ipc, scan_parquet
from aipl._flow import flow
from aipl._model import StageModel
from aipl._over_time import trend
from aipl._plain import cell, json_text, plain
from aipl._schema import EventSchema
from aipl._snapshot import snapshot
from aipl._table import Table

_EXIT_CODES = """\
exit codes:
  0  done (a batch that the bank has already counts as done)
  1  refused: wrong data, names or days; the message says what
  2  wrong usage of the command line
  3  another writer holds the bank
  4  the bank is damaged
  5  no space left on the disk
  130  interrupted; run the command again, a batch is taken in once
"""
_FIELDS = ("category", "item", "store", "channel", "touchpoint", "order_id", "event_id", "amount", "quantity", "rating", "cost", "city")
_SHOWN_ROWS = 40
# Messages and help have lines; the cells of a table have not.
_LINES = "\n"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore", RejectedRowsWarning)
    try:
        _check_out(options.out)
        options.run(options)
    except StoreLockedError as error:
        return _refuse(error, 3)
    except CorruptStoreError as error:
        return _refuse(error, 4)
    except NoSpaceError as error:
        return _refuse(error, 5)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (AiplError, OSError, TypeError) as error:
        return _refuse(error, 1)
    except KeyboardInterrupt:
        return _refuse("interrupted; run the command again, a batch is taken in once", 130)
    return 0


def _refuse(error: object, code: int) -> int:
    print(f"aipl: {plain(error, keep=_LINES)}", file=sys.stderr)
    return code


# ---- output


class _Output:
    """Rows of a result, to show or to write."""

    def __init__(self, table: Table | None = None, rows: Iterable[dict[str, Any]] = (), columns: Sequence[str] = ()) -> None:
        self._table = table
        self._rows = list(rows)
        self.columns = table.columns if table is not None else list(columns)

    def rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        return self._table._rows(limit) if self._table is not None else self._rows[:limit]

    def __len__(self) -> int:
        return len(self._table) if self._table is not None else len(self._rows)

    def arrow(self) -> _core.Table:
        if self._table is not None:
            return self._table._inner
        texts = [[None if value is None else _text(value) for value in row.values()] for row in self._rows]
        return _core.Table.of_texts(self.columns, texts)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


def _pairs(told: dict[str, Any]) -> _Output:
    return _Output(rows=[{"name": name, "value": value} for name, value in told.items()], columns=("name", "value"))


def _check_out(out: str | None) -> None:
    """What cannot be written is found before anything is done."""
    if out is None:
        return
    path = Path(out).expanduser()
    if path.suffix.lower() not in (".csv", ".json", ".parquet"):
        raise ParameterError(f"--out: {out!r} ends in none of .csv, .json, .parquet")
    if not path.parent.is_dir():
        raise ParameterError(f"--out: there is no folder {str(path.parent)!r}")


def _put(output: _Output, options: argparse.Namespace) -> None:
    if options.out is None:
        _show(output)
        return
    path = Path(options.out).expanduser()
    ending = path.suffix.lower()
    # Whoever reads the file finds the old one or the new one, never half of one.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if ending == ".parquet":
            output.arrow().write_parquet(str(beside))
        elif ending == ".json":
            with _private(beside) as file:
                file.write(json_text(output.rows(), indent=1) + "\n")
        else:
            _write_csv(output, beside, options.raw)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    print(f"{len(output):,} rows written to {plain(path)}", file=sys.stderr)


def _private(path: Path) -> TextIO:
    """A new file to write, for the eyes of its owner alone: it may hold identifiers."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    return os.fdopen(descriptor, "w", newline="", encoding="utf-8")


def _write_csv(output: _Output, path: Path, raw: bool) -> None:
    import csv

    def written(value: object) -> str:
        if value is None:
            return ""
        # A number is no formula, also below zero.
        return _text(value) if raw or isinstance(value, int | float | Decimal) else cell(_text(value))

    with _private(path) as file:
        writer = csv.writer(file)
        writer.writerow([written(name) for name in output.columns])
        writer.writerows([written(value) for value in row.values()] for row in output.rows())


def _show(output: _Output) -> None:
    rows = output.rows(_SHOWN_ROWS)
    names = [plain(name) for name in output.columns]
    cells = [["" if value is None else plain(_text(value)) for value in row.values()] for row in rows]
    numbers = [bool(rows) and all(isinstance(row[name], int | float) for row in rows) for name in output.columns]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if number else value.ljust(width)
            for value, width, number in zip(values, widths, numbers, strict=True)
        )
        return "  ".join(padded).rstrip()

    for values in [names, *cells]:
        print(line(values))
    if len(output) > len(rows):
        print(f"... {len(output):,} rows in all; --out writes them")


def _progress() -> Callable[[int, int], None] | None:
    if not sys.stderr.isatty():
        return None

    def tell(done: int, total: int) -> None:
        share = min(done / total, 1.0) if total else 0.0
        bar = "#" * int(share * 30)
        end = "\n" if total and done >= total else ""
        print(f"\r[{bar:<30}] {done:,} rows", end=end, file=sys.stderr, flush=True)

    return tell


# ---- arguments


def _limit(text: str) -> int | None:
    return None if text == "none" else int(text)


def _size(text: str) -> int:
    number = text.lower().removesuffix("ib").removesuffix("b")
    unit = number[-1:] if number[-1:] in ("k", "m", "g") else ""
    try:
        return int(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 512MiB or 1GiB") from None


def _pair(text: str) -> tuple[str, str]:
    left, found, right = text.partition("=")
    if not found or not left:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return left, right


def _read_model(named: str) -> StageModel:
    path = Path(named).expanduser()
    if path.suffix.lower() == ".toml":
        return StageModel.from_toml(path)
    if path.suffix.lower() == ".json":
        return StageModel.from_json(path.read_text(encoding="utf-8"))
    return StageModel.preset(named)


def _asked_model(bank: DataBank, options: argparse.Namespace) -> StageModel:
    if options.model is not None:
        return _read_model(options.model)
    if bank.model is None:
        raise ParameterError("--model: the bank was created without a model; name one")
    return bank.model


def _scopes(options: argparse.Namespace) -> list[Scope] | None:
    return [_scope(text) for text in options.scope] if options.scope else None


def _scope(text: str) -> Scope:
    brand, found, category = text.partition("//")
    return (brand, category) if found else brand


# ---- commands


def _create(options: argparse.Namespace) -> None:
    mapped = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    behaviors = {**dict(options.map), **dict.fromkeys(options.ignore)}
    schema = EventSchema(
        consumer=options.consumer,
        brand=options.brand,
        behavior=options.behavior,
        time=options.time,
        behaviors=behaviors or None,
        own_behaviors=options.own_behavior or None,
        attributes=dict(options.attribute) or None,
        time_unit=options.time_unit,
        **mapped,
    )
    model = None if options.model is None else _read_model(options.model)
    with DataBank.create(options.bank, schema, tz=options.tz, model=model) as bank:
        _put(_pairs(bank.info()), options)


def _ingest(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        events = _events(bank, options)
        told = bank.ingest(
            events,
            batch_id=options.batch_id,
            memory_limit=options.memory_limit,
            compact=not options.no_compact,
            progress=_progress(),
        )
        _put(_pairs(told), options)


def _links(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        told = bank.ingest_links(
            options.files,
            batch_id=options.batch_id,
            id_types=options.id_types,
            id_type=options.id_type,
            unknown=options.unknown,
            max_people_per_id=options.max_people_per_id,
            max_component=options.max_component,
            seen_at=options.seen_at,
            source=options.source,
            forget_expired=options.forget_expired,
            on_error=options.on_error,
            progress=_progress(),
        )
        _put(_pairs(told), options)


def _events(bank: DataBank, options: argparse.Namespace) -> Events:
    schema, tz = bank.source_schema, bank.tz
    ending = Path(options.files[0]).suffix.lower()
    kinds = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".arrow": "ipc", ".ipc": "ipc", ".feather": "ipc", ".arrows": "ipc"}
    kind = options.format or kinds.get(ending, "parquet")
    if kind == "csv":
        delimiter = options.delimiter or ("\t" if ending == ".tsv" else ",")
        return scan_csv(options.files, schema, tz=tz, on_error=options.on_error, delimiter=delimiter)
    scan = scan_ipc if kind == "ipc" else scan_parquet
    return scan(options.files, schema, tz=tz, on_error=options.on_error)


def _drop_batch(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        _put(_pairs(bank.drop_batch(options.batch_ids)), options)


def _snapshot(options: argparse.Namespace) -> None:
    bank = DataBank.open(options.bank)
    snap = snapshot(bank, _asked_model(bank, options), as_of=options.as_of, scopes=_scopes(options), progress=_progress())
    _put(_Output(snap.labels() if options.labels else snap.counts()), options)


def _trend(options: argparse.Namespace) -> None:
    bank = DataBank.open(options.bank)
    table = trend(
        bank,
        _asked_model(bank, options),
        start=options.start,
        end=options.end,
        scopes=_scopes(options),
        step=options.step,
        measure=options.measure,
        progress=_progress(),
    )
    _put(_Output(table), options)


def _flow(options: argparse.Namespace) -> None:
    bank = DataBank.open(options.bank)
    moved = flow(
        bank,
        _asked_model(bank, options),
        start=options.start,
        end=options.end,
        scope=_scopes(options),
        mode=options.mode,
        progress=_progress(),
    )
    _put(_Output(moved.classes() if options.classes else moved.matrix()), options)


def _materialize(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        model = None if options.model is None else _read_model(options.model)
        _put(_pairs(bank.materialize(options.day, model=model)), options)


def _audience_save(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        snap = snapshot(bank, _asked_model(bank, options), as_of=options.as_of, scopes=[_scope(options.scope)])
        audience = snap.audience(_scope(options.scope), options.stage)
        _put(_pairs(bank.save_audience(options.name, audience, note=options.note)), options)


def _audience_export(options: argparse.Namespace) -> None:
    audience = DataBank.open(options.bank).audience(options.name, options.version)
    named = options.id_type or "consumer"
    _put(_Output(rows=[{named: consumer} for consumer in audience.ids(id_type=options.id_type)], columns=(named,)), options)


def _audience_list(options: argparse.Namespace) -> None:
    columns = ("name", "version", "size", "note", "made", "of_commit")
    _put(_Output(rows=DataBank.open(options.bank).audiences(), columns=columns), options)


def _info(options: argparse.Namespace) -> None:
    _put(_pairs(DataBank.open(options.bank).info()), options)


def _verify(options: argparse.Namespace) -> None:
    _put(_pairs(DataBank.open(options.bank).verify()), options)


def _compact(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        _put(_pairs(bank.compact(progress=_progress())), options)


def _vacuum(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        _put(_pairs(bank.vacuum()), options)


def _expire(options: argparse.Namespace) -> None:
    with DataBank.open(options.bank, "rw", timeout=options.wait) as bank:
        _put(_pairs(bank.expire(before=options.before)), options)


def _backup(options: argparse.Namespace) -> None:
    _put(_pairs({"bytes": DataBank.open(options.bank).backup(options.target)}), options)


# ---- the parser


class _Parser(argparse.ArgumentParser):
    """Its messages quote what was typed or pasted, so they are made harmless too."""

    def error(self, message: str) -> NoReturn:
        super().error(plain(message, keep=_LINES))


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="aipl", description="A brand's data bank on the command line.", epilog=_EXIT_CODES, formatter_class=form
    )
    parser.add_argument("--version", action="version", version=f"aipl {_core.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        within: Any, name: str, run: Callable[[argparse.Namespace], None], about: str, example: str, writes: bool = False
    ) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = within.add_parser(
            name, help=about, description=about, epilog=f"example:\n  {example}\n\n{_EXIT_CODES}", formatter_class=form
        )
        command.set_defaults(run=run, raw=False)
        command.add_argument("bank", metavar="BANK", help="directory of the bank")
        command.add_argument("--out", metavar="FILE", help="write the result to a .csv, .json or .parquet file")
        command.add_argument("--raw", action="store_true", help="write CSV cells as they are, also those that a spreadsheet would run or a terminal obey")
        if writes:
            command.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="wait for another writer to finish")
        return command

    def ask_model(command: argparse.ArgumentParser) -> None:
        command.add_argument("--model", help="a preset, or a .toml or .json file (default: the bank's model)")

    def ask_scopes(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--scope", action="append", help="only this brand or store, or BRAND//CATEGORY; may be given several times"
        )

    _add_create(add(commands, "create", _create, "Make a bank.", (
        "aipl create bank --consumer user_id --brand brand --behavior action --time ts \\\n"
        "      --map pv=view --map buy=purchase --ignore heartbeat --tz Asia/Shanghai --model databank"
    )))  # fmt: skip
    command = add(commands, "ingest", _ingest, "Take in a batch of events; the same batch twice is taken in once.",
                  "aipl ingest bank events/2024-11-11/*.parquet --batch-id 2024-11-11 --wait 600", writes=True)  # fmt: skip
    command.add_argument("files", nargs="+", metavar="FILE", help="files, patterns or folders")
    command.add_argument("--batch-id", required=True, help="names the batch for ever, such as its day")
    command.add_argument("--format", choices=("parquet", "csv", "ipc"), help="default: by the ending of the first file")
    command.add_argument("--delimiter", help="of CSV files")
    command.add_argument("--on-error", choices=("reject", "raise"), default="reject", help="what a row that is no event does")
    command.add_argument("--memory-limit", type=_size, default=1 << 30, metavar="SIZE", help="such as 512MiB (default: 1GiB)")
    command.add_argument("--no-compact", action="store_true", help="do not merge small segments afterwards")

    command = add(commands, "drop-batch", _drop_batch, "Take batches out, also such as can no longer be read.",
                  "aipl drop-batch bank 2024-11-11 --wait 600", writes=True)  # fmt: skip
    command.add_argument("batch_ids", nargs="+", metavar="BATCH", help="its id; several go together")

    command = add(commands, "links", _links, "Take in a batch of identity rows: from the first one on, consumers are persons.",
                  "aipl links bank links/2024-11-11.parquet --batch-id links-2024-11-11 --id-types phone,account --id-type account",
                  writes=True)  # fmt: skip
    command.add_argument("files", nargs="+", metavar="FILE", help="files, patterns or folders, with a column an id type")
    command.add_argument("--batch-id", required=True, help="names the batch for ever, such as its day")
    command.add_argument("--id-types", type=lambda names: names.split(","), metavar="NAMES",
                         help="in order of priority; settled by the first batch, as are the next four")  # fmt: skip
    command.add_argument("--id-type", metavar="NAME", help="which of them the bank's consumers are")
    command.add_argument("--unknown", choices=("keep", "reject"), help="consumers that no link knows (default: keep)")
    command.add_argument("--max-people-per-id", type=_limit, default=..., metavar="NUMBER", help="or none (default: 10)")
    command.add_argument("--max-component", type=_limit, default=..., metavar="NUMBER", help="or none (default: none)")
    command.add_argument("--seen-at", metavar="COLUMN", help="when each row was seen")
    command.add_argument("--source", metavar="COLUMN", help="where each row is from")
    command.add_argument("--forget-expired", action="store_true", help="drop kept days that could not be made again")
    command.add_argument("--on-error", choices=("reject", "raise"), default="reject", help="what a value that is no identifier does")

    command = add(commands, "snapshot", _snapshot, "Consumers by scope and stage at the close of a day.",
                  "aipl snapshot bank --as-of 2024-11-11 --out counts.csv")  # fmt: skip
    command.add_argument("--as-of", required=True, metavar="DAY")
    command.add_argument("--labels", action="store_true", help="the stage of every consumer instead of counts")
    ask_model(command)
    ask_scopes(command)

    command = add(commands, "trend", _trend, "Consumers by scope and stage, day by day.",
                  "aipl trend bank --start 2024-11-01 --end 2024-11-30 --step week --scope acme")  # fmt: skip
    command.add_argument("--start", required=True, metavar="DAY")
    command.add_argument("--end", required=True, metavar="DAY")
    command.add_argument("--step", choices=("day", "week", "month"), default="day")
    command.add_argument("--measure", choices=("stock", "entries", "exits", "union"), default="stock")
    ask_model(command)
    ask_scopes(command)

    command = add(commands, "flow", _flow, "Movement of consumers between the stages of two days.",
                  "aipl flow bank --start 2024-10-31 --end 2024-11-11 --scope acme --classes")  # fmt: skip
    command.add_argument("--start", required=True, metavar="DAY")
    command.add_argument("--end", required=True, metavar="DAY")
    command.add_argument("--mode", choices=("endpoint", "peak"), default="endpoint")
    command.add_argument("--classes", action="store_true", help="kept, advanced, regressed, lost, new and returned instead of the matrix")
    ask_model(command)
    ask_scopes(command)

    command = add(commands, "materialize", _materialize, "Keep the stages of a day.",
                  "aipl materialize bank 2024-11-11", writes=True)  # fmt: skip
    command.add_argument("day", metavar="DAY")
    ask_model(command)

    audience = commands.add_parser("audience", help="Saved audiences: save, export, list.", epilog=_EXIT_CODES, formatter_class=form)
    audiences = audience.add_subparsers(metavar="COMMAND", required=True)
    command = add(audiences, "save", _audience_save, "Save the consumers in a stage of a day.",
                  "aipl audience save bank loyal --scope acme --stage L --as-of 2024-11-11", writes=True)  # fmt: skip
    command.add_argument("name")
    command.add_argument("--scope", required=True)
    command.add_argument("--stage", required=True)
    command.add_argument("--as-of", required=True, metavar="DAY")
    command.add_argument("--note", default="")
    ask_model(command)
    command = add(audiences, "export", _audience_export, "Write the consumers of a saved audience.",
                  "aipl audience export bank loyal --id-type phone --out loyal.csv")  # fmt: skip
    command.add_argument("name")
    command.add_argument("--id-type", help="under links: the persons' values of this id type, instead of their numbers")
    command.add_argument("--version", type=int, help="default: the newest")
    add(audiences, "list", _audience_list, "Every version of every saved audience.", "aipl audience list bank")

    add(commands, "info", _info, "What the bank holds.", "aipl info bank")
    add(commands, "verify", _verify, "Read every byte of the bank and check it.", "aipl verify bank")
    add(commands, "compact", _compact, "Merge segments.", "aipl compact bank --wait 600", writes=True)
    add(commands, "vacuum", _vacuum, "Remove files that nothing needs any more.", "aipl vacuum bank", writes=True)
    command = add(commands, "expire", _expire, "Remove the events before a day for ever.",
                  "aipl expire bank --before 2022-01-01", writes=True)  # fmt: skip
    command.add_argument("--before", required=True, metavar="DAY")
    command = add(commands, "backup", _backup, "Copy the bank.", "aipl backup bank /backups/bank-2024-11-11")
    command.add_argument("target", metavar="DIRECTORY")
    return parser


def _add_create(command: argparse.ArgumentParser) -> None:
    for name in ("consumer", "brand", "behavior", "time"):
        command.add_argument(f"--{name}", required=True, metavar="COLUMN")
    for name in _FIELDS:
        command.add_argument(f"--{name.replace('_', '-')}", metavar="COLUMN")
    command.add_argument("--attribute", type=_pair, action="append", default=[], metavar="NAME=COLUMN", help="a field of your own")
    command.add_argument("--map", type=_pair, action="append", default=[], metavar="RAW=BEHAVIOR", help="a raw value of the behavior column")
    command.add_argument("--ignore", action="append", default=[], metavar="RAW", help="a raw value to pass over")
    command.add_argument("--own-behavior", action="append", default=[], metavar="NAME", help="a behavior of your own")
    command.add_argument("--time-unit", choices=("d", "s", "ms", "us", "ns"), help="of an integer time column")
    command.add_argument("--tz", required=True, metavar="ZONE", help="time zone of calendar days")
    command.add_argument("--model", help="a preset, or a .toml or .json file: the model of materialize and of questions")
