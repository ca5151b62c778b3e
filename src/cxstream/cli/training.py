"""What the commands of `cxstream train` have in common: inputs, outputs, tables and progress."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.model.rules import Rules
    from cxstream.settings import Settings
    from cxstream.training.log import Source
    from cxstream.training.page import Rows

_REPORTS = (".html", ".json")


def rules_before(settings: Settings, file: Path | None) -> Rules:
    """The rules that a model is added to."""
    from cxstream.model.rules import rules_of
    from cxstream.rules.file import read_file

    return rules_of(settings.scoring, settings.actions) if file is None else read_file(file)


def check_inputs(options: dict[str, Any]) -> None:
    """Refuse options of files where Kafka is read, and the other way round.

    Raises:
        UsageError: there are some.
    """
    if options["inputs"] and options["kafka"]:
        raise click.UsageError("--kafka reads cx.touchpoints instead of files: leave out one of them")
    if options["in_order"] and not options["inputs"]:
        raise click.UsageError("--sort is for files: cx.touchpoints is read in the order of its partitions")


def log_source(settings: Settings, options: dict[str, Any], say: Callable[[str], None]) -> Source:
    """The files that are named, or cx.touchpoints up to now."""
    from pathlib import Path

    from cxstream.training.topic import Topic

    if options["inputs"]:
        return source(settings, options["inputs"], in_order=options["in_order"])
    topic = Topic(settings, say)
    return replace(source(settings, (Path(topic.name),), in_order=False), feed=topic.chunks)


def source(settings: Settings, paths: tuple[Path, ...], *, in_order: bool) -> Source:
    """Touchpoint files, read by the rules of the settings."""
    from cxstream.training.log import Source

    return Source(
        paths,
        settings.scoring,
        settings.actions,
        in_order,
        settings.replay.batch_bytes,
        round(time.time() * 1000),
        settings.control.authority(),
    )


def check_outputs(options: dict[str, Any]) -> None:
    """Refuse outputs that would be lost, before the work begins.

    Raises:
        OutputError: an output is there already, or is an input, or is named twice.
        UsageError: a report is neither HTML nor JSON.
    """
    from cxstream.files.outputs import same
    from cxstream.model.errors import OutputError

    outputs = [options["out"], *options["reports"], *filter(None, [options.get("track")])]
    for path in options["reports"]:
        if path.suffix.lower() not in _REPORTS:
            raise click.UsageError(f"--report {path}: name a file that ends with .html or .json")
    for i, path in enumerate(outputs):
        if any(same(path, each) for each in options["inputs"]):
            raise OutputError(f"{path}: is an input; name another file")
        if any(same(path, each) for each in outputs[:i]):
            raise OutputError(f"{path}: is named for two outputs; name two files")
        if path.exists() and not options["force"]:
            raise OutputError(f"{path}: is there already; name another file, or replace it with --force")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}; create it first")


def with_status(work: Callable[[Callable[[str], None]], Any]) -> Any:
    """Do some work that says what it does, on standard error where that is a terminal."""
    from rich.console import Console
    from rich.status import Status

    from cxstream.logs.bars import is_watched

    console = Console(stderr=True)
    if not is_watched(console):
        return work(lambda _: None)
    with Status("reading", console=console) as status:
        return work(status.update)


def show_table(title: str, rows: Rows) -> None:
    """Print a table, the head first."""
    from rich.table import Table

    head, *body = rows
    table = Table(title=title)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in body:
        table.add_row(*row)
    output().print(table)


def write_report(path: Path, html: Callable[[], str], json: Callable[[], bytes]) -> None:
    """Write a report as its name says."""
    from cxstream.files.outputs import created

    is_page = path.suffix.lower() == ".html"
    with created(path) as file:
        file.write(html().encode() if is_page else json())
    click.echo(f"{path}: the report")


def write_track(path: Path, rows: bytes) -> None:
    """Write the plot of a holdout as CSV."""
    from cxstream.files.outputs import created

    with created(path) as file:
        file.write(rows)
    click.echo(f"{path}: the holdout day by day")


def write_rules(path: Path, rules: Rules, said: str) -> None:
    """Write rules, with a remark."""
    from cxstream.files.outputs import created
    from cxstream.rules.show import as_toml

    with created(path) as file:
        file.write((said + as_toml(rules)).encode())


def warn(warnings: list[str]) -> None:
    """Print what to beware of."""
    for said in warnings:
        click.secho(f"warning: {said}", fg="yellow", err=True)
