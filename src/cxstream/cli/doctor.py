"""`cxstream doctor`: is the installation well, and if not, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.options import Number

if TYPE_CHECKING:
    from cxstream.doctor.finding import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red", "skipped": None}


@click.command("doctor", epilog="Exit status 1 when there is an error; with --strict a warning, too.")
@click.option(
    "--schemas",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of installed schemas to compare with.",
)
@click.option("--worker", metavar="URL", help="Web server of a worker that must answer.")
@click.option(
    "--timeout", type=Number(0, min_open=True), default=20, show_default=True,
    help="Seconds that each check may take.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each finding.")
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None,
    schemas: Path | None,
    worker: str | None,
    timeout: float,
    strict: bool,
    as_json: bool,
    kafka: str | None,
) -> None:
    """Check an installation, and say for each finding what to do. Changes nothing.

    Looks at settings, packages, kernels, schemas, brokers, topics, access, clocks, the group, its members and its lag,
    transactions, saved state, disks and the worker's web server.

    \b
    Example:
      cxstream doctor
      cxstream doctor --json --strict --schemas schemas
    """  # noqa: D301
    import asyncio
    import logging

    import msgspec

    from cxstream.doctor.finding import Patient
    from cxstream.doctor.run import examine
    from cxstream.settings import load

    # The findings explain a broker that does not answer better than the Kafka client's log.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    counts = dict.fromkeys(_COLOURS, 0)

    def tell(finding: Finding) -> None:
        counts[finding.level] += 1
        if as_json:
            click.echo(msgspec.json.encode(finding))
        else:
            _show(finding)

    asyncio.run(examine(Patient(load(config, kafka=kafka), config, schemas, worker), tell, timeout))
    click.echo(", ".join(f"{count} {level}" for level, count in counts.items() if count), err=as_json)
    if counts["error"] or (strict and counts["warning"]):
        raise SystemExit(1)


def _show(finding: Finding) -> None:
    from cxstream.logs.printable import printable

    level = click.style(f"{finding.level:8}", fg=_COLOURS[finding.level])
    click.echo(f"{level}{finding.check:13}{printable(finding.what)}")
    if finding.advice:
        click.echo(f"{'':21}-> {printable(finding.advice)}")
