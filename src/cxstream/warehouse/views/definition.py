"""What a view's SQL file says: its header, its rows, its measures, and which rows are behind a measure.

A file begins with a header of comments in Markdown. `# NAME` and a text come first, then sections:

- `## Columns`: a table of column, unit and formula, with margins.
- `## Caveats`: what a reader must know.
- `## Behind`: `- measure: condition`, the rows that a measure counts. `{measure}` in the SQL stands for the condition.
- `## Keys`: `- column: meaning`, columns that name a row of the result beside those of --by.
- `## Options`: `- name: choice, choice: meaning`, the first choice is the default; NUMBER and TEXT stand for any.
- `## Dimensions`: `- name, name`, where it has not all of them.

`-- result of RELATION` divides the SQL: above it are the rows, in RELATION, with `customer_id` and `time`; below it is the
query that adds them up. `-- shown` divides the latter where `cxstream.warehouse.views.streamed` can give what the end of it reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

DIMENSIONS = (
    "channel", "touchpoint", "stage", "product", "location", "agent", "segment", "campaign", "topic", "kind", "source",
    "level", "team",
)  # fmt: skip
"""What touchpoints are filtered and grouped by."""

NUMBER, TEXT = "NUMBER", "TEXT"
"""Choices of an option that stand for any number, and any text."""

_RESULT = re.compile(r"^-- result of (\w+)$", re.MULTILINE)
_SHOWN = "-- shown"
_ITEM = re.compile(r"^- ([\w, ]+?)(?:: (.*))?$")
_SECTION = "## "


@dataclass(frozen=True, slots=True)
class Option:
    """A choice that changes what a view computes.

    Attributes:
        choices: what it may be, the default first; `NUMBER` and `TEXT` stand for any number or text.
        meaning: what it does.
    """

    choices: tuple[str, ...]
    meaning: str

    @property
    def default(self) -> str:
        """What holds where nothing is said."""
        return self.choices[0]


@dataclass(frozen=True, slots=True)
class View:
    """A view.

    Attributes:
        name: of the view and of its file.
        summary: its first sentence.
        header: Markdown, without the comment signs.
        rows: SQL up to the rows that are added up.
        relation: the name of these rows.
        result: SQL that adds them up.
        shown: the end of `result`, from relations that can also come from elsewhere; empty without a `-- shown` line.
        columns: of the result, beside those of `by`, in the order of the header.
        behind: condition of the rows that a measure counts, by measure.
        keys: columns that name a row of the result beside those of `by`.
        options: by name.
        dimensions: what it can be filtered and grouped by.
    """

    name: str
    summary: str
    header: str
    rows: str
    relation: str
    result: str
    shown: str
    columns: tuple[str, ...]
    behind: dict[str, str]
    keys: tuple[str, ...]
    options: dict[str, Option]
    dimensions: tuple[str, ...]


def names() -> list[str]:
    """The names of all views."""
    return sorted(path.name[:-4] for path in _folder().iterdir() if path.name.endswith(".sql"))


@cache
def view(name: str) -> View:
    """The view called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in names():
        raise InputError(f"there is no view {name!r}; there are {', '.join(names())}")
    return parse(name, (_folder() / f"{name}.sql").read_text("utf-8"))


def parse(name: str, text: str) -> View:
    """Read the text of a view's file.

    Raises:
        ValueError: it does not have the form that the docstring of this module describes.
    """
    lines = text.splitlines()
    length = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    header = "\n".join(line.removeprefix("--").removeprefix(" ") for line in lines[:length])
    sql = "\n".join(lines[length:])
    divided = _RESULT.split(sql)
    if len(divided) != 3 or not header.startswith(f"# {name}\n"):  # noqa: PLR2004
        raise ValueError(
            f"{name}.sql: wants a header that begins with '# {name}' and one '-- result of' line"
        )
    sections = _sections(header)
    options = {}
    for key, rest in sections.get("Options", {}).items():
        choices, _, meaning = rest.partition(": ")
        options[key] = Option(tuple(choices.split(", ")), meaning)
    own = next(iter(sections.get("Dimensions", {})), "")
    return View(
        name=name,
        summary=header.split("\n", 2)[1],
        header=header,
        rows=divided[0].strip(),
        relation=divided[1],
        result=divided[2].strip(),
        shown=divided[2].partition(f"{_SHOWN}\n")[2].strip(),
        columns=tuple(_columns(header)),
        behind=sections.get("Behind", {}),
        keys=tuple(sections.get("Keys", {})),
        options=options,
        dimensions=tuple(own.split(", ")) if own else DIMENSIONS,
    )


def _columns(header: str) -> Iterator[str]:
    """The names in the first cells of the table of columns."""
    table = header.partition(f"{_SECTION}Columns\n")[2].partition(f"\n{_SECTION}")[0]
    for line in table.splitlines():
        if line.startswith("|"):
            yield from line.split("|")[1].split("`")[1::2]


def _sections(header: str) -> dict[str, dict[str, str]]:
    """The items of each section of a header."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in header.splitlines():
        if line.startswith(_SECTION):
            current = sections.setdefault(line.removeprefix(_SECTION), {})
        elif found := _ITEM.match(line):
            current[found[1]] = found[2] or ""
    return sections


def _folder() -> resources.abc.Traversable:
    return resources.files("cxstream.warehouse.views")
