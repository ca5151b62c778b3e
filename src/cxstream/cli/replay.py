"""`cxstream replay`: touchpoint files to signals, score cards and rejects, without a broker."""

from __future__ import annotations

from pathlib import Path

import click


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
    help="Let every clock end at this time (RFC 3339 with an offset); later events are from the future.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Score as if cx.touchpoints had this many partitions.",
)
@click.option(
    "--batch-bytes", type=click.IntRange(1024), help="Bytes read at a time.  [default: from the settings]"
)
@click.option("--force", is_flag=True, help="Replace results that are in the folder.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no summary.")
@click.pass_context
def command(
    ctx: click.Context,
    inputs: tuple[Path, ...],
    out: Path,
    until: str | None,
    partitions: int,
    batch_bytes: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Score touchpoint files without a broker.

    IN is NDJSON, the same as .gz or .zst, or Parquet; `-` is standard input. Several are scored as given, one
    after the other. The folder gets signals.ndjson (churn-risk and friction signals, in order), scores.ndjson
    (one score card a customer, sorted by subject) and rejected.ndjson (reason, field, line and the record); where
    somebody asks to be erased, forgotten.ndjson has the receipts.

    \b
    Example:
      cxstream replay touchpoints.ndjson --out result
      cxstream replay jan.ndjson.gz feb.parquet --until 2025-03-01T00:00:00Z --out result
    """  # noqa: D301
    from rich.console import Console

    from cxstream.files.readers import total_bytes
    from cxstream.replay.progress import Bar
    from cxstream.replay.results import Results
    from cxstream.replay.run import replay
    from cxstream.settings import load

    end = _time(until)
    settings = load(ctx.obj)
    pseudonyms = settings.privacy.pseudonyms()
    results = Results(out, replace=force)
    total = total_bytes(inputs)
    console = Console(stderr=True, quiet=quiet)
    try:
        with Bar(console, total) as bar, results:
            from cxstream.scoring.router import Router

            tally = replay(
                Router(settings.scoring, settings.actions, partitions=partitions, pseudonyms=pseudonyms),
                inputs,
                results,
                until=end,
                batch_bytes=batch_bytes or settings.replay.batch_bytes,
                max_record_bytes=settings.replay.max_record_bytes,
                keep_raw=pseudonyms is None,
                on_chunk=bar.show,
            )
    except KeyboardInterrupt:
        click.echo(f"cxstream: interrupted; no results were written to {out}", err=True)
        raise SystemExit(130) from None
    console.print(tally.table())
    if not quiet:
        click.echo(f"{out}: {tally.line()}")


def _time(text: str | None) -> int | None:
    """`--until` in ms UTC, by the rule that event times are held to."""
    if text is None:
        return None
    import numpy as np

    from cxstream.kernels.text import BAD_TIME, parse_time

    data = np.frombuffer(text.encode(), np.uint8)
    time = int(parse_time(data, 0, len(data)))
    if time == BAD_TIME:
        raise click.BadParameter(
            f"{text!r} is not RFC 3339 with an offset, like 2025-03-01T00:00:00Z", param_hint="--until"
        )
    return time
