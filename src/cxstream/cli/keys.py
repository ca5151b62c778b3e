"""`cxstream keys`: the key that control records are signed with."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("keys")
def command() -> None:
    """The key that workers sign control records with.

    \b
    Example:
      cxstream keys init /etc/cxstream/control-key
    """  # noqa: D301


@command.command("init")
@click.argument("file", type=click.Path(path_type=Path))
def init(file: Path) -> None:
    """Make a key of 256 random bits in a new file that its owner alone can read.

    A file that exists is never replaced. Standard output says what to put where, and never the key.

    \b
    Example:
      cxstream keys init /etc/cxstream/control-key
      cxstream keys init control-key && kubectl create secret generic cxstream-control --from-file=key=control-key
    """  # noqa: D301
    import secrets

    from cxstream.files.private import create

    try:
        with create(file) as opened:
            opened.write(f"{secrets.token_hex(32)}\n".encode())
    except FileExistsError:
        raise click.ClickException(
            f"{file}: exists, and is not replaced: records signed with it would be forged; name another file"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be made: {error.strerror or error}") from error
    click.echo(_said(file.absolute()))


def _said(file: Path) -> str:
    return (
        f"{file}: a new key, for its owner alone (0600)\n\n"
        "Every worker needs it, and nobody else:\n"
        f'  settings file    [control]\n                   key_file = "{file}"\n'
        f"  environment      CXSTREAM_CONTROL__KEY_FILE={file}\n"
        f"  Kubernetes       kubectl create secret generic cxstream-control --from-file=key={file}\n"
        "                   helm upgrade ... --set control.secret=cxstream-control\n"
        f"  docker compose   CXSTREAM_CONTROL_KEY={file} docker compose -f docker-compose.yml \\\n"
        "                   -f deploy/compose/control.yml up   (the user 10001 has to be able to read it)\n\n"
        "Where workers run already, or a key is replaced: docs/security.md, 'Control records', says in which order."
    )
