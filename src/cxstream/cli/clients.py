"""`cxstream clients`: tokens of programs that use the API of the console."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.settings import Settings

_kafka = click.option(
    "--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is: cx.audit then has what is done, too."
)


@click.group("clients")
def command() -> None:
    """Tokens of programs that use the API of the console, in the file console.users_file.

    \b
    Example:
      cxstream clients create bi --role viewer --days 90
      cxstream clients list
      cxstream clients revoke bi
    """  # noqa: D301


@command.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "agent", "admin"]),
    default="viewer",
    show_default=True,
    help="Viewers see figures, agents customers, too, administrators everything.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "work"]),
    multiple=True,
    default=["read"],
    show_default=True,
    help="What it may ask for: to read, and to do work on customers; may be given several times.",
)
@click.option(
    "--days",
    type=click.IntRange(0, 3650),
    default=365,
    show_default=True,
    help="For how long the token holds; 0: for ever.",
)
@_kafka
@click.pass_obj
def create(config: str | None, /, **options: Any) -> None:
    """Let a program use the API: print its token, which is kept nowhere.

    \b
    Example:
      cxstream clients create bi > token
      cxstream clients create crm --role agent --scope read --scope work --days 90
    """  # noqa: D301
    from cxstream.console.audit import tell_of_client
    from cxstream.console.people import NOBODY, add_program, check_name, known_as

    settings, path = _settings(config, options["kafka"])
    name, role = options["name"], options["role"]
    check_name(path, name)
    # What Kafka does not take is not done.
    asyncio.run(tell_of_client(settings, "made_client", name, role))
    click.echo(add_program(path, name, role, options["scopes"], options["days"], known_as(NOBODY)))


@command.command("list")
@click.pass_obj
def show(config: str | None) -> None:
    """Show the programs: role, scopes, since when and until when their token holds, and who made it.

    \b
    Example:
      cxstream clients list
    """  # noqa: D301
    import time

    from cxstream.console.people import programs

    _, path = _settings(config, None)
    now = round(time.time() * 1000)
    rows = [
        (
            each.name,
            each.role,
            ",".join(each.scopes),
            each.made[:10] or "-",
            (each.ends[:10] or "for ever") + ("" if each.holds(now) else " (over)"),
            each.by or "-",
        )
        for each in (programs(path) if path.exists() else [])
    ]
    if not rows:
        click.echo("no program has a token")
        return
    table = [("client", "role", "scopes", "made", "until", "by"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@command.command("revoke")
@click.argument("name")
@_kafka
@click.pass_obj
def revoke(config: str | None, /, name: str, kafka: str | None) -> None:
    """Take the token of a program back; a console that runs refuses it from then on.

    \b
    Example:
      cxstream clients revoke bi
    """  # noqa: D301
    from cxstream.console.audit import tell_of_client
    from cxstream.console.people import programs, remove_program

    settings, path = _settings(config, kafka)
    role = next((each.role for each in programs(path) if each.name == name), "")
    remove_program(path, name)
    # It is taken back, whatever Kafka says.
    asyncio.run(tell_of_client(settings, "revoked_client", name, role))
    click.echo(f"the token of {name} does not hold any more")


def _settings(config: str | None, kafka: str | None) -> tuple[Settings, Path]:
    from cxstream.cli.options import require_console

    require_console()
    from cxstream.logs.setup import configure
    from cxstream.model.errors import SettingsError
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    configure(settings.log_level, settings.log_format)
    if settings.console.users_file is None:
        raise SettingsError("console.users_file: name the file in which people and programs are kept")
    return settings, settings.console.users_file
