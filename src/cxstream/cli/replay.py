"""`cxstream replay`: touchpoint files to signals, score cards and rejects, without a broker."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.interrupts import Interrupts
from cxstream.cli.options import rfc3339_ms, rules_option, tell_compilation

if TYPE_CHECKING:
    from cxstream.files.readers import Chunk
    from cxstream.files.scored_file import ScoredFile
    from cxstream.replay.summary import Tally
    from cxstream.settings import Settings
    from cxstream.warehouse.files import FileWarehouse


@click.command(name="replay")
@click.argument(
    "inputs", nargs=-1, required=True, metavar="IN...", type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results."
)
@click.option(
    "--until",
    metavar="TIME",
    help="Let every clock end at this time (RFC 3339 with an offset); later events are rejected as from the future."
    "  [default: events may be up to scoring.future_minutes later than the start of the command]",
)
@click.option(
    "--sort",
    "in_order",
    is_flag=True,
    help="Merge all inputs by event time first, in bounded memory and with temporary files in $TMPDIR.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Score as if cx.touchpoints had this many partitions.",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Use this many processes, each for some of the customers: the results are the same. Inputs that are not files of JSON "
    "lines, sorted ones, and those with --scored, --warehouse or pseudonyms are scored by one, with as many threads, which read records ahead.",
)
@click.option(
    "--batch-bytes", type=click.IntRange(1024), help="Bytes read at a time.  [default: from the settings]"
)
@rules_option(
    "Rules (TOML or JSON, see 'cxstream rules') that hold until the records say others.  [default: those of the "
    "settings]"
)
@click.option(
    "--scored",
    "scored_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write each accepted event with what it counted for, as on cx.scored: .parquet, .arrow (an Arrow file) or "
    ".arrows (an Arrow stream).",
)
@click.option(
    "--warehouse",
    "warehouse_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also build a warehouse (DuckDB) of scored touchpoints, score cards and signals, for 'cxstream view'.",
)
@click.option("--force", is_flag=True, help="Replace results that are there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no summary.")
@click.pass_context
def command(
    ctx: click.Context,
    inputs: tuple[Path, ...],
    out: Path,
    until: str | None,
    in_order: bool,
    partitions: int,
    jobs: int,
    batch_bytes: int | None,
    rules_file: Path | None,
    scored_path: Path | None,
    warehouse_path: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Score touchpoint files without a broker.

    IN is JSON (lines or arrays, also packed), Parquet or Arrow; `-` is standard input. Several are scored as given, one
    after the other; with --sort all records are scored in the order of their times. The folder gets signals.ndjson
    (churn-risk and friction signals, in order), scores.ndjson (one score card per customer, sorted by subject) and
    rejected.ndjson (reason, field, line and the record). If there are erasure requests, forgotten.ndjson has the
    receipts.

    Sets of rules (cx.rules.v1) in the input come into force where they stand, in every partition.

    If the settings have a control.key, rules, erasure requests and ticks count only if they are signed with it.

    The exit status is 1 if none of the records of an input could be used. If more than 1% of an input was rejected,
    the last line says what to do.

    \b
    Example:
      cxstream replay touchpoints.ndjson --out result
      cxstream replay orders.ndjson tickets.ndjson --sort --out result
      cxstream replay year.ndjson.zst --jobs 2 --out result
      cxstream replay march.ndjson --rules new.toml --out march-by-new-rules
      cxstream replay touchpoints.ndjson --out result --scored scored.parquet
      cxstream replay touchpoints.ndjson --out result --warehouse shop.duckdb
      cxstream replay events.parquet events.arrow --out result
      cxstream replay jan.ndjson.gz feb.parquet --until 2025-03-01T00:00:00Z --out result
    """  # noqa: D301
    from rich.console import Console

    from cxstream.files.readers import total_bytes
    from cxstream.replay.progress import Bar
    from cxstream.replay.results import Results
    from cxstream.replay.run import replay
    from cxstream.settings import load

    started = round(time.time() * 1000)
    if not quiet:
        tell_compilation()
    end = _time(until)
    settings = load(ctx.obj)
    if rules_file is not None:
        settings = _with_rules(settings, rules_file)
    pseudonyms, grace = settings.privacy.pseudonyms(), round(settings.scoring.future_minutes * 60_000)
    authority = settings.control.authority()
    results = Results(out, replace=force)
    scored = _scored_file(scored_path, inputs, replace=force)
    warehouse = _warehouse(warehouse_path, settings, inputs, replace=force)
    _check_outputs(out, scored_path, warehouse_path)
    total = total_bytes(inputs)
    console = Console(stderr=True, quiet=quiet)
    try:
        with Interrupts() as interrupts:
            with (
                Bar(console, total) as bar,
                results,
                scored or nullcontext(),
                warehouse or nullcontext(),
            ):

                def show(chunk: Chunk) -> None:
                    interrupts.check()
                    bar.show(chunk)

                def show_reading(chunk: Chunk) -> None:
                    interrupts.check()
                    bar.show_reading(chunk)

                sinks = [sink for sink in (scored, warehouse) if sink is not None]
                from cxstream.scoring.router import Router

                router = Router(
                    settings.scoring,
                    settings.actions,
                    partitions=partitions,
                    topic=settings.topology.touchpoints.name,
                    pseudonyms=pseudonyms,
                    authority=authority,
                    scored=bool(sinks),
                )
                if jobs > 1 and pseudonyms is None:
                    router.threads = ThreadPoolExecutor(jobs)
                tally = replay(
                    router,
                    inputs,
                    results,
                    until=end,
                    limit=started + grace,
                    grace=grace,
                    in_order=in_order,
                    jobs=jobs,
                    processes=pseudonyms is None,
                    batch_bytes=batch_bytes or settings.replay.batch_bytes,
                    keep_raw=pseudonyms is None,
                    sinks=sinks,
                    on_chunk=show,
                    on_read=show_reading,
                    on_sorted=bar.begin_scoring,
                    on_written=interrupts.ignore,
                )
            console.print(tally.table())
            if not quiet:
                click.echo(f"{out}: {tally.line()}")
            _conclude(tally, out, in_order=in_order)
    except KeyboardInterrupt:
        click.echo(f"cxstream: interrupted; no results were written to {out}", err=True)
        raise


def _scored_file(path: Path | None, inputs: tuple[Path, ...], *, replace: bool) -> ScoredFile | None:
    """The file for the scored touchpoints; None without one."""
    if path is None:
        return None
    from cxstream.files.outputs import same
    from cxstream.files.scored_file import ScoredFile
    from cxstream.model.errors import OutputError

    if any(same(each, path) for each in inputs):
        raise OutputError(f"{path}: is an input; write the scored touchpoints to another file")
    return ScoredFile(path, replace=replace)


def _warehouse(
    path: Path | None, settings: Settings, inputs: tuple[Path, ...], *, replace: bool
) -> FileWarehouse | None:
    """The warehouse to build; None without one."""
    if path is None:
        return None
    from cxstream.cli.options import require_duckdb
    from cxstream.files.outputs import same
    from cxstream.model.errors import OutputError

    require_duckdb()
    from cxstream.warehouse.files import FileWarehouse

    if any(same(each, path) for each in inputs):
        raise OutputError(f"{path}: is an input; write the warehouse to another file")
    return FileWarehouse(path, settings.warehouse, settings.insights, replace=replace)


def _check_outputs(out: Path, scored: Path | None, warehouse: Path | None) -> None:
    """Refuse two outputs in one file, and an output in a folder that does not exist and is not to be made.

    Raises:
        OutputError: two outputs have the same path, or a folder is missing.
    """
    from cxstream.files.outputs import same
    from cxstream.model.errors import OutputError
    from cxstream.replay.results import NAMES, OTHERS

    named = [(path, what) for path, what in ((scored, "--scored"), (warehouse, "--warehouse")) if path]
    for path, what in named:
        # --out is made, and the folders above it.
        if not (path.parent.is_dir() or out.resolve().is_relative_to(path.parent.resolve())):
            raise OutputError(f"{path}: there is no folder {path.parent}; create it first")
        if same(path, out):
            raise OutputError(f"{path}: is the folder of --out; name another file for {what}")
        for name in (*NAMES, *OTHERS):
            if same(path, out / name):
                raise OutputError(f"{path}: is {name} of --out; name another file for {what}")
    if scored and warehouse and same(scored, warehouse):
        raise OutputError(f"{scored}: is named for --scored and for --warehouse; name two files")


def _with_rules(settings: Settings, file: Path) -> Settings:
    """The settings with the rules in a file."""
    from cxstream.rules.file import read_file

    return settings.with_rules(read_file(file))


def _conclude(tally: Tally, out: Path, *, in_order: bool) -> None:
    """Print the problems on standard error, the most important last; exit with 1 if an input was unusable."""
    from cxstream.replay.results import REJECTED
    from cxstream.replay.verdict import forged_note, order_notes, unusable, warning

    if note := forged_note(tally):
        click.echo(note, err=True)
    for note in order_notes(tally, in_order=in_order):
        click.echo(note, err=True)
    useless = list(unusable(tally))
    last = useless or [line for line in [warning(tally, out / REJECTED, in_order=in_order)] if line]
    for line in last:
        # Click removes the colour if standard error is not a terminal.
        click.secho(f"cxstream: {line}", fg="red", err=True)
    if useless:
        raise SystemExit(1)


def _time(text: str | None) -> int | None:
    """`--until` in ms UTC, by the rule for event times."""
    if text is None:
        return None
    found = rfc3339_ms(text)
    if found is None:
        raise click.BadParameter(
            f"{text!r} is not RFC 3339 with an offset, like 2025-03-01T00:00:00Z", param_hint="--until"
        )
    return found
