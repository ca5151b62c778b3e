"""`cxstream serve`: the console."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("serve")
@click.option(
    "--warehouse",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The read model.  [default: warehouse.path of the settings]",
)
@click.option("--host", help="Address of the server.  [default: console.host of the settings]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the server; 0 takes a free one.  [default: console.port of the settings]",
)
@click.pass_obj
def command(config: str | None, /, warehouse: Path | None, host: str | None, port: int | None) -> None:
    """Show the read model in a browser: how customers are, who needs a call, and which places hurt.

    The read model is a file that `replay --warehouse` or `warehouse follow` makes. Ctrl-C ends the server.

    \b
    Example:
      cxstream serve --warehouse cx.duckdb
    """  # noqa: D301
    from cxstream.cli.options import require_console

    require_console()
    from cxstream.console.server import serve
    from cxstream.logs.setup import configure
    from cxstream.settings import load

    chosen = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load(config, console=chosen or None)
    configure(settings.log_level, settings.log_format)
    path = warehouse or settings.warehouse.path
    serve(settings, path, lambda address: click.echo(f"cxstream serves {path} at {address}"))
