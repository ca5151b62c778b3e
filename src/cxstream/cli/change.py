"""`cxstream change`: record a change of the experience."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Time, tell_compilation
from cxstream.model.enumerations import CHANNELS

if TYPE_CHECKING:
    from cxstream.settings import Settings

SOURCE = "/cxstream/change"


@click.command("change")
@click.argument("name")
@click.option(
    "--at",
    type=Time(),
    help="When: RFC 3339 with an offset, also in the future, or how long ago: 2h.  [default: now]",
)
@click.option("--channel", type=click.Choice(CHANNELS), help="The channel that it is limited to.")
@click.option("--touchpoint", help="The touchpoint that it is limited to.")
@click.option("--product", help="The product that it is limited to.")
@click.option("--location", help="The shop or place that it is limited to.")
@click.option(
    "--id", "id_", help="Its id: a change with the same id and source counts once.  [default: a new one]"
)
@click.option("--source", default=SOURCE, show_default=True, help="The system or team that says so.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="Append it as a line to this file instead of sending it to Kafka; `-` is standard output.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(config: str | None, /, name: str, out: Path | None, kafka: str | None, **said: Any) -> None:
    """Record a change of the experience: a release, a new menu of the phone line, a price.

    NAME says what changed. It goes to cx.changes; the warehouse takes it from there, and `cxstream view changes`
    compares what was before with what came after. Scores do not depend on it.

    \b
    Example:
      cxstream change "one-page checkout" --channel web --touchpoint checkout
      cxstream change "new phone menu" --channel call --at 2026-03-02T08:00:00+01:00
      cxstream change "price of p-5" --product p-5 --out changes.ndjson
    """  # noqa: D301
    from cxstream.scoring.codec.changes import decode_changes

    if out is not None and kafka is not None:
        raise click.UsageError("--out writes a file, --kafka names a broker: say one of them")
    tell_compilation()
    value = _event(name, said)
    decoded = decode_changes([value])
    if decoded.rejected:
        wrong = decoded.rejected[0]
        option = wrong.field.removeprefix("data.")
        raise click.UsageError(f"{option.upper() if option == 'name' else f'--{option}'}: {wrong.message}")
    if out is not None:
        _append(out, value)
        if str(out) != "-":
            click.echo(f"{out}: {name!r} at {decoded.events[0].time}")
        return
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    asyncio.run(_send(settings, said["source"], value))
    click.echo(f"{settings.topology.changes.name}: {name!r} at {decoded.events[0].time}")


def _event(name: str, said: dict[str, Any]) -> bytes:
    import time
    import uuid

    import msgspec

    from cxstream.model.changes import CHANGE_TYPE
    from cxstream.model.rfc3339 import rfc3339

    at = round(time.time() * 1000) if said["at"] is None else said["at"]
    where = {
        key: said[key] for key in ("channel", "touchpoint", "product", "location") if said[key] is not None
    }
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()) if said["id_"] is None else said["id_"],
        "source": said["source"],
        "type": CHANGE_TYPE,
        "time": rfc3339(at),
        "data": {"name": name, **where},
    }
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError as error:
        raise click.UsageError("an argument is not UTF-8") from error


def _append(path: Path, line: bytes) -> None:
    """Append a line to a file.

    Raises:
        OutputError: it cannot be written, or is compressed.
    """
    from cxstream.model.errors import OutputError

    if str(path) == "-":
        click.get_binary_stream("stdout").write(line + b"\n")
        return
    if path.suffix in {".gz", ".zst", ".parquet"}:
        raise OutputError(
            f"{path}: a line can only be appended to a plain file; name one such as changes.ndjson"
        )
    try:
        with path.open("a+b") as file:
            if file.seek(0, 2):
                file.seek(-1, 2)
                # The last line of a file need not end.
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line + b"\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


async def _send(settings: Settings, source: str, value: bytes) -> None:
    from cxstream.kafka.producer import sending
    from cxstream.model.errors import InputError

    topic = settings.topology.changes
    async with sending(settings, topic) as sender:
        if await sender.send([source.encode()], [value]):
            raise InputError(f"{topic.name}: takes no record of {len(value):,} bytes")
