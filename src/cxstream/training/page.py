"""The frame of a report: one HTML page that needs nothing else, and its tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Rows = list[tuple[str, ...]]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #d8dee6; }
th:first-child, td:first-child { text-align: left; }
.warning { background: #fff4d6; padding: .5rem 1rem; border-left: 4px solid #c98a00; }
svg { width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #14181d; color: #dfe6ee; } .warning { background: #3a2f10; } th, td { border-color: #39424d; }
}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A page with a title and a body."""
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>{escape(title)}</h1>",
            *parts,
            "</body></html>",
            "",
        ]
    )


def warnings(said: Iterable[str]) -> list[str]:
    """What to beware of."""
    return [f'<p class="warning">{escape(each)}</p>' for each in said]


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """A table, the head first."""
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
    return "\n".join(["<table>", f"<tr>{cells}</tr>", *(f"<tr>{line}</tr>" for line in lines), "</table>"])
