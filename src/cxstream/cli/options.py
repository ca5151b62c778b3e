"""What several commands take and show: times on the command line, and a bar for reading a log."""

from __future__ import annotations

import math
import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F = TypeVar("F", bound="Callable[..., Any]")

_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"(\d+)([smhd])")
# A pipe has no width: what reads it wants a row a line, not a table folded at 80 columns.
PIPE_COLUMNS = 220

inputs_argument = click.argument(
    "inputs", nargs=-1, required=True, metavar="IN...", type=click.Path(path_type=Path)
)
"""The files that a command learns from."""

log_argument = click.argument("inputs", nargs=-1, metavar="[IN]...", type=click.Path(path_type=Path))
"""The files that a command learns from; none: Kafka."""

log_kafka_option = click.option(
    "--kafka",
    metavar="HOST:PORT[,...]",
    help="Where Kafka is, whose cx.touchpoints is read if there is no IN.",
)

rules_out_option = click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File for the rules (TOML)."
)
"""Where rules go."""


def rules_option(about: str) -> Callable[[F], F]:
    """A file of rules; `about`: the help."""
    return click.option("--rules", "rules_file", type=click.Path(path_type=Path), help=about)


def reports_option(what: str, plots: str) -> Callable[[F], F]:
    """Reports of what was found; `what` and `plots`: for the help."""
    return click.option(
        "--report",
        "reports",
        multiple=True,
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"Also write {what}: .html (one page with {plots}) or .json; may be given twice.",
    )


def rfc3339_ms(text: str) -> int | None:
    """A time in ms UTC, by the rule for event times; None if it is not RFC 3339 with an offset."""
    import numpy as np

    from cxstream.kernels.text import BAD_TIME, parse_times
    from cxstream.scoring.codec.decode import text_column

    found = np.empty(1, np.int64)
    parse_times(*text_column([text]), found)
    return None if found[0] == BAD_TIME else int(found[0])


class Number(click.FloatRange):
    """A number in a range; `nan`, which is in none and outside of none, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


class Time(click.ParamType):
    """A time: RFC 3339 with an offset, or how long ago (30m, 2h, 7d); ms UTC."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The time in ms UTC."""
        if isinstance(value, int):
            return value
        ago = _AGO.fullmatch(str(value))
        if ago:
            return round(time.time() * 1000) - int(ago[1]) * _UNIT_MS[ago[2]]
        found = rfc3339_ms(str(value))
        if found is None:
            self.fail(
                f"{value!r} is neither RFC 3339 with an offset nor a time ago like 30m, 2h or 7d", param, ctx
            )
        return found


@contextmanager
def log_bar(text: str) -> Iterator[Callable[..., None]]:
    """A bar on standard error, where that is a terminal; takes what is done, of how many, and another text."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from cxstream.logs.bars import bar as shown

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with shown(*columns) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total, said=text: bar.update(task, description=said, completed=done, total=total)


def tell_compilation() -> None:
    """Say on standard error, once, if the command has to compile kernels: it would be silent for minutes."""
    from cxstream.kernels.compiling import told

    def say() -> None:
        click.echo("compiling the kernels, once: a minute, several on a busy computer ...", err=True)

    click.get_current_context().with_resource(told(say))


def require_duckdb() -> None:
    """Check that DuckDB is installed, which only the warehouse needs.

    Raises:
        InstallationError: it is not.
    """
    from importlib.util import find_spec

    from cxstream.model.errors import InstallationError

    if find_spec("duckdb") is None:
        raise InstallationError(
            "the warehouse needs DuckDB, of the extra 'warehouse': pip install 'cxstream[warehouse]'"
        )


class WithDefault(click.Group):
    """A group that runs its command `follow` where none of its commands is named."""

    _DEFAULT = "follow"

    def make_parser(self, ctx: click.Context) -> Any:
        """A parser that leaves options to the command."""
        parser = super().make_parser(ctx)
        parser.ignore_unknown_options = True
        return parser

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments of the command, which is named then."""
        return super().parse_args(ctx, args or [self._DEFAULT])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant."""
        named = args if args and args[0] in self.commands else [self._DEFAULT, *args]
        return super().resolve_command(ctx, named)


def require_console() -> None:
    """Check that the packages of the console are installed.

    Raises:
        InstallationError: one is not.
    """
    from importlib.util import find_spec

    from cxstream.model.errors import InstallationError

    modules = (
        "argon2",
        "authlib",
        "babel",
        "duckdb",
        "httpx",
        "jinja2",
        "joserfc",
        "python_multipart",
        "starlette",
        "uvicorn",
    )
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise InstallationError(
            f"the console needs {', '.join(missing)}, of the extra 'console': pip install 'cxstream[console]'"
        )


def require_models() -> None:
    """Check that the packages are installed that only the fitting of models needs.

    Raises:
        InstallationError: one is missing.
    """
    from importlib.util import find_spec

    from cxstream.model.errors import InstallationError

    if any(find_spec(name) is None for name in ("scipy", "sklearn")):
        raise InstallationError(
            "fitting models needs SciPy and scikit-learn, of the extra 'models': pip install 'cxstream[models]'"
        )


def output(*, width: int = PIPE_COLUMNS) -> Any:
    """A console for tables on standard output."""
    import sys

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width, highlight=False)
