"""`cxstream serve`: the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from cxstream.cli.options import rules_option


@click.command("serve")
@click.option(
    "--warehouse",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The read model.  [default: warehouse.path of the settings]",
)
@click.option(
    "--kafka",
    help="Bootstrap servers, HOST:PORT[,...]: what people do about customers goes there, and who looked at whom. Without it pages only show.",
)
@click.option(
    "--follow",
    "follows",
    is_flag=True,
    help="Also keep the read model up to date from Kafka, as 'warehouse follow' does: pages show an event within a second or two.",
)
@rules_option(
    "Rules (TOML or JSON) that the read model was made with, such as those of 'replay --rules': pages take experiments, thresholds "
    "and models from them.  [default: those of the settings]"
)
@click.option("--host", help="Address of the server.  [default: console.host of the settings]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the server; 0 takes a free one.  [default: console.port of the settings]",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve metrics and health on this port; 0 takes a free one.  [default: console.metrics_port of the settings]",
)
@click.option(
    "--add-user", metavar="NAME", help="Let somebody sign in, with a password that is asked for, and end."
)
@click.option(
    "--role",
    type=click.Choice(["viewer", "agent", "admin"]),
    default="viewer",
    show_default=True,
    help="With --add-user: viewers see figures, agents customers, too, administrators everything.",
)
@click.pass_obj
def command(config: str | None, /, **options: Any) -> None:
    """Show the read model in a browser: how customers are, who needs a call, and which places hurt.

    The read model is a file that `replay --warehouse` or `warehouse follow` makes; with --follow the server does that itself.
    Ctrl-C ends it.

    \b
    Example:
      cxstream serve --warehouse cx.duckdb
      cxstream serve --warehouse cx.duckdb --rules rules.toml
      cxstream serve --warehouse cx.duckdb --kafka kafka-1:9092 --follow
      CXSTREAM_CONSOLE__USERS_FILE=users.json cxstream serve --add-user anna --role agent
    """  # noqa: D301
    from cxstream.cli.options import require_console

    require_console()
    from cxstream.console.server import serve
    from cxstream.logs.setup import configure
    from cxstream.settings import load

    chosen = {name: options[name] for name in ("host", "port", "metrics_port") if options[name] is not None}
    settings = load(config, console=chosen or None, kafka=options["kafka"])
    configure(settings.log_level, settings.log_format)
    if options["add_user"] is not None:
        _add(settings.console.users_file, options)
        return
    if options["rules_file"] is not None:
        from cxstream.rules.file import read_file

        settings = settings.with_rules(read_file(options["rules_file"]))
    path = options["warehouse"] or settings.warehouse.path
    follows: bool = options["follows"]
    if not follows:
        _look(path)
    serve(settings, path, lambda address: click.echo(f"cxstream serves {path} at {address}"), follows=follows)


def _look(path: Path) -> None:
    """Say that there is no read model yet; another process may make it later.

    Raises:
        WarehouseError: the file is something else.
    """
    from cxstream.warehouse.store import check_form

    if path.exists():
        check_form(path)
    else:
        click.echo(
            f"cxstream: {path}: no such warehouse yet: pages are empty until 'cxstream replay IN... --warehouse {path}' or "
            f"'cxstream warehouse follow --warehouse {path}' makes it",
            err=True,
        )


def _add(path: Path | None, options: dict[str, Any]) -> None:
    from cxstream.console.people import add_person
    from cxstream.model.errors import SettingsError

    if path is None:
        raise SettingsError("console.users_file: name the file in which people are kept")
    role: Literal["viewer", "agent", "admin"] = options["role"]
    password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    add_person(path, options["add_user"], role, password)
    click.echo(f"{options['add_user']} can sign in as {role}; {path} has a hash of the password")
