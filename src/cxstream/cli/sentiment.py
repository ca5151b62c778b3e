"""`cxstream sentiment`: what the text model makes of texts."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import output, tell_compilation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.text.model import Verdict

_SHOWN, _WIDTH = 50, 60


@click.command("sentiment")
@click.argument("file", metavar="[FILE]", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option(
    "--language",
    "languages",
    multiple=True,
    type=click.Choice(["en", "pl"]),
    help="Only this language gets a sentiment; may be given twice.  [default: en and pl]",
)
@click.option("--format", "form", type=click.Choice(("table", "ndjson")), default="table", show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000_000),
    help=f"Most texts.  [default: {_SHOWN} in a table, else all]",
)
def command(file: str, languages: tuple[str, ...], form: str, limit: int | None) -> None:
    """What the text model makes of texts: language, sentiment in -1..1, and the phrases that decided.

    FILE has a text in each line, or touchpoints as NDJSON, whose `text` and `lang` are read; `-` is standard input. No
    sentiment means that the model abstains. Texts and phrases are shown with personal data masked. docs/sentiment.md says
    how good it is. Workers and `replay` use it where the rules name it (`scoring.text_model`), for texts without a sentiment.

    \b
    Example:
      echo "Third call this week, nobody helps :(" | cxstream sentiment
      cxstream sentiment reviews.txt --language pl --format ndjson
    """  # noqa: D301
    from cxstream.model.errors import InputError
    from cxstream.model.text import MODEL, TEXT_LANGUAGES
    from cxstream.text.model import TextModel

    tell_compilation()
    model = TextModel(MODEL, languages or TEXT_LANGUAGES)
    if limit is None and form == "table":
        limit = _SHOWN
    try:
        opened = click.open_file(file, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    texts = _texts(click.get_current_context().with_resource(opened))
    found = ((text, model.explain(text, language)) for text, language in islice(texts, limit))
    if form == "ndjson":
        for text, verdict in found:
            click.echo(_json(text, verdict))
        return
    _table(found)
    if next(texts, None) is not None:
        click.echo(f"... and more; --limit shows more than {limit}", err=True)


def _texts(file: Any) -> Iterator[tuple[str, str | None]]:
    """The texts of a file and the languages that touchpoints name."""
    import msgspec

    for line in file:
        text, language = line.rstrip("\r\n"), None
        if text.startswith("{"):
            try:
                data = msgspec.json.decode(text)["data"]
                text, language = str(data.get("text") or ""), data.get("lang")
            except (msgspec.DecodeError, KeyError, AttributeError, TypeError):
                pass  # a text that begins with a bracket
        if text.strip():
            yield text, language if isinstance(language, str) else None


def _json(text: str, verdict: Verdict) -> str:
    import msgspec

    from cxstream.text.masking import mask

    said = {
        "text": mask(text),
        "language": verdict.language,
        "sentiment": verdict.sentiment,
        "evidence": verdict.evidence,
    }
    return msgspec.json.encode(said).decode()


def _table(found: Iterator[tuple[str, Verdict]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cxstream.logs.printable import printable
    from cxstream.text.masking import mask

    table = Table("language", "sentiment", "text", "evidence")
    table.columns[1].justify = "right"
    for text, verdict in found:
        short = mask(text)
        table.add_row(
            verdict.language or "-",
            "-" if verdict.sentiment is None else f"{verdict.sentiment:+.2f}",
            Text(printable(short if len(short) <= _WIDTH else f"{short[: _WIDTH - 3]}...")),
            Text(printable(", ".join(verdict.evidence))),
        )
    output().print(table)
