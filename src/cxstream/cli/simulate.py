"""`cxstream simulate`: realistic traffic with ground truth."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cxstream.cli.interrupts import BY_SIGNAL, Interrupts, whole
from cxstream.cli.options import Number, rules_option, tell_compilation
from cxstream.logs.counted import counted

_FILE_START = datetime(2026, 1, 1, tzinfo=UTC)
_SHARE = Number(0, 0.2)
_POSITIVE = Number(0, min_open=True)


@click.command(name="simulate")
@click.option(
    "--customers", type=click.IntRange(1), default=10_000, show_default=True, help="How many customers."
)
@click.option("--events", type=click.IntRange(1), help="End after this many records.")
@click.option(
    "--days", type=_POSITIVE, help="End after this many days of event time. A file without any end has 30."
)
@click.option("--for", "seconds", type=_POSITIVE, help="End after this many seconds. For a topic.")
@click.option("--rate", type=_POSITIVE, help="Records a second; as fast as it goes by default. For a topic.")
@click.option("--speed", type=_POSITIVE, help="Seconds of event time a second. For a topic.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"]),
    help="Event time of the beginning, in UTC unless it ends with an offset. Default: a fixed day for a file, for a topic so long ago that it ends about now.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write this file: .ndjson, .ndjson.gz or .ndjson.zst; - is standard output. Default: the topic.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is. Default: the settings'.")
@click.option(
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the ground truth to this file (NDJSON).",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="The same seed and options give the same records.",
)
@click.option(
    "--trouble",
    type=Number(0, 20),
    default=1.0,
    show_default=True,
    help="How many times as often as usual something goes wrong.",
)
@click.option(
    "--late", type=_SHARE, default=0.01, show_default=True, help="Share that arrives hours to days late."
)
@click.option(
    "--out-of-order",
    type=_SHARE,
    default=0.02,
    show_default=True,
    help="Share that arrives seconds to minutes late.",
)
@click.option(
    "--duplicates", type=_SHARE, default=0.005, show_default=True, help="Share that repeats a record."
)
@click.option("--broken", type=_SHARE, default=0.001, show_default=True, help="Share that must be rejected.")
@click.option(
    "--future/--no-future",
    default=None,
    help="Broken records may come from the future. Default: to a topic yes, to a file no, as a file does not say when a record arrived.",
)
@rules_option(
    "Rules with experiments: the CRM acts on the churn-risk signals that follow from them, by their arm, instead of by chance."
)
@click.option(
    "--effect",
    type=Number(0, 1),
    default=0.5,
    show_default=True,
    help="With --rules: the chance that an action keeps its customer.",
)
@click.option("--quiet", is_flag=True, help="No progress, only the summary line.")
@click.pass_obj
def command(config: str | None, /, **options: Any) -> None:
    """Simulate customers with lives, and write their touchpoints to cx.touchpoints or to a file.

    Segments, habits, incidents, contacts that help or do not, complaints, and departures that follow from
    the pain with a delay. --truth says what was true: who left, when and why.

    \b
    Example:
      cxstream simulate --customers 10000 --days 30 --out touchpoints.ndjson.zst --truth truth.ndjson
      cxstream simulate --customers 5000 --days 120 --out touchpoints.ndjson.zst --rules rules.toml --effect 0.5
      cxstream simulate --customers 2000 --rate 500 --for 60 --kafka localhost:9092
    """  # noqa: D301
    from cxstream.simulate.faults import Rates

    options["acting"] = _acting(options)
    to_file = options["out"] is not None
    _refuse(options, to_file=to_file)
    if not options["quiet"]:
        tell_compilation()
    future = options["future"] if options["future"] is not None else not to_file
    rates = Rates(options["late"], options["out_of_order"], options["duplicates"], options["broken"], future)
    if to_file:
        _to_file(rates, options)
    else:
        _to_topic(config, rates, options)


def _refuse(options: dict[str, Any], *, to_file: bool) -> None:
    """Refuse options that contradict each other."""
    if to_file:
        for name in ("seconds", "rate", "speed", "kafka"):
            if options[name] is not None:
                flag = "--for" if name == "seconds" else f"--{name}"
                raise click.UsageError(f"{flag} is for a topic; leave out {flag} or --out")
        from cxstream.files.outputs import STDOUT, same

        if options["truth"] is not None and same(options["truth"], options["out"], both_written=True):
            raise click.UsageError("--truth and --out are the same file; name two")
        if str(options["out"]) != STDOUT and not str(options["out"]).endswith(
            (".ndjson", ".ndjson.gz", ".ndjson.zst")
        ):
            raise click.UsageError(
                f"--out {options['out']}: the name must end in .ndjson, .ndjson.gz or .ndjson.zst"
            )
    if options["rate"] is not None and options["speed"] is not None:
        raise click.UsageError("--rate and --speed both set the pace; give one of them")


def _plan(rates: Any, options: dict[str, Any], start_ms: int, days: float | None) -> Any:
    from cxstream.simulate.stream import Plan

    return Plan(
        options["customers"],
        start_ms,
        options["seed"],
        days,
        options["events"],
        rates,
        options["trouble"],
        options["acting"],
    )


def _acting(options: dict[str, Any]) -> Any:
    """How the CRM acts; None: by chance."""
    if options["rules_file"] is None:
        return None
    from cxstream.rules.file import read_file
    from cxstream.simulate.crm import Acting

    rules = read_file(options["rules_file"])
    if not rules.params.experiments:
        raise click.UsageError(
            f"--rules {options['rules_file']}: has no experiment, so no signal has an arm; add [scoring.experiments.NAME]"
        )
    return Acting(rules, options["effect"])


def _start(options: dict[str, Any]) -> int | None:
    given: datetime | None = options["start"]
    if given is None:
        return None
    return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)


@whole
def _to_file(rates: Any, options: dict[str, Any]) -> None:
    from cxstream.files.outputs import is_stdout
    from cxstream.simulate import files, truth
    from cxstream.simulate.progress import progress
    from cxstream.simulate.stream import RECORDS_PER_CUSTOMER_DAY, Simulation

    start = _start(options)
    days = options["days"] if options["days"] or options["events"] else 30.0
    plan = _plan(rates, options, start if start is not None else round(_FILE_START.timestamp() * 1000), days)
    simulation = Simulation(plan)
    expected = min(plan.events or 1e15, plan.customers * RECORDS_PER_CUSTOMER_DAY * (days or 1e15))
    try:
        with progress(expected, quiet=options["quiet"]) as advance:
            files.write(simulation, options["out"], advance)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {options['out']} is not written", err=True)
        raise
    if options["truth"]:
        truth.write(options["truth"], simulation)
    click.echo(
        f"{counted(simulation.tally.records, 'record')} of {counted(plan.customers, 'customer')} written to {options['out']}",
        err=any(is_stdout(options[name]) for name in ("out", "truth") if options[name]),
    )


def _to_topic(config: str | None, rates: Any, options: dict[str, Any]) -> None:
    from cxstream.settings import load
    from cxstream.simulate import topic, truth
    from cxstream.simulate.progress import progress
    from cxstream.simulate.stop import on_signals
    from cxstream.simulate.stream import Simulation

    settings = load(config, kafka=options["kafka"])
    pace = topic.Pace(options["rate"], options["speed"], options["seconds"])
    start = _start(options)
    if start is None:
        start = topic.start_to_end_now(options["customers"], options["days"], options["events"], pace)
    simulation = Simulation(_plan(rates, options, start, options["days"]))

    async def send() -> int:
        stop = asyncio.Event()
        asked = on_signals(stop)
        with progress(options["events"], quiet=options["quiet"]) as advance:
            await topic.send(simulation, settings, pace, stop, advance)
        return asked[0] if asked else 0

    interrupted = asyncio.run(send())
    if options["truth"]:
        with Interrupts():
            truth.write(options["truth"], simulation)
    click.echo(
        f"{counted(simulation.tally.records, 'record')} of {counted(options['customers'], 'customer')} sent to {settings.kafka}"
    )
    if interrupted:
        raise SystemExit(BY_SIGNAL + interrupted)
