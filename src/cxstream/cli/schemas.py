"""`cxstream schemas`: the wire contract as files, and a check that the files match the code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.interrupts import whole
from cxstream.cli.options import rules_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.model.parameters import OwnKind


@click.command(name="schemas")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the documents to this folder."
)
@click.option(
    "--check",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Compare this folder with the current documents; exit 1 and show the difference if there is one.",
)
@rules_option(
    "Rules (TOML or JSON, see 'cxstream rules'): also write or check the schemas of the kinds that they name."
)
@whole
def command(out: Path | None, check: Path | None, rules_file: Path | None) -> None:
    """Write or check the JSON Schemas of all events and the AsyncAPI document of all topics.

    \b
    Example:
      cxstream schemas --out schemas
      cxstream schemas --out schemas --rules rules.toml
      cxstream schemas --check schemas
    """  # noqa: D301
    if (out is None) == (check is None):
        raise click.UsageError("say either --out DIR or --check DIR")
    texts = _texts(rules_file)
    if out is not None:
        _write(out, texts)
        click.echo(f"wrote {len(texts)} documents to {out}")
    elif check is not None:
        differences = _differences(check, texts)
        if differences:
            click.echo("\n".join(differences))
            click.echo(f"{check} is not what the code says; run: cxstream schemas --out {check}", err=True)
            raise SystemExit(1)
        click.echo(f"{len(texts)} documents in {check} are what the code says")


def _write(folder: Path, texts: dict[str, str]) -> None:
    from cxstream.files.outputs import created
    from cxstream.model.errors import OutputError

    for name, text in texts.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{path.parent}: cannot be made: {error.strerror or error}; name another folder"
            ) from error
        with created(path, private=False) as file:
            file.write(text.encode())


def _texts(rules_file: Path | None) -> dict[str, str]:
    """Each document as text, by its path below the folder."""
    import json

    from cxstream.wire import asyncapi, schema

    own: Mapping[str, OwnKind] = {}
    if rules_file is not None:
        from cxstream.rules.file import read_file

        own = read_file(rules_file).params.kinds
    documents = {**schema.documents(own), "asyncapi.json": asyncapi.document(own)}
    return {
        name: json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in documents.items()
    }


def _differences(folder: Path, texts: dict[str, str]) -> list[str]:
    """Lines of a unified diff from what is in the folder to what should be; empty where they are the same."""
    import difflib

    found = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.json")
    }
    lines: list[str] = []
    for name in sorted({*found, *texts}):
        before, after = found.get(name, ""), texts.get(name, "")
        if before != after:
            lines += difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                f"{folder / name}" if name in found else "(missing)",
                f"{name} (generated)" if name in texts else "(not generated; delete it)",
                lineterm="",
            )
    return lines
