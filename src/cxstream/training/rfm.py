"""Customers from a CSV file of one row each: repeats, recency, age and, if there is one, the mean amount.

    frequency,recency,T,monetary_value      or      x,t_x,T,zbar
    2,30.43,38.86,22.35

Other columns are ignored. The mean amount is taken as that of the repeat purchases, as the literature has it; 0 or an
empty field says that none is known.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.errors import InputError
from cxstream.training.customers import Customers

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = {
    "repeats": ("frequency", "x", "repeats"),
    "span": ("recency", "t_x"),
    "age": ("t", "age"),
    "mean": ("monetary_value", "zbar", "mean"),
}
_NEEDED = ("repeats", "span", "age")
# A time is rounded in most files; by so much the last purchase may be after the end.
_SLACK = 0.01


def is_rfm(path: Path) -> bool:
    """Whether a file is read as customers, not as touchpoints."""
    return path.suffix.lower() == ".csv"


def read_rfm(path: Path) -> Customers:
    """The customers in a file.

    Raises:
        InputError: it cannot be read, or a row is wrong: names line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            columns = _columns(path, next(reader, []))
            rows = [_row(path, reader.line_num, row, columns) for row in reader if row]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: is not CSV: {error}") from error
    if not rows:
        raise InputError(f"{path}: has no customers")
    return _customers(rows)


def rfm_of(what: str, head: Sequence[str], row: Sequence[str]) -> Customers:
    """The customer in one row.

    Args:
        what: where the row is from, for messages.
        head: names of the columns.
        row: its fields.

    Raises:
        InputError: a field is wrong.
    """
    place = Path(what)
    return _customers([_row(place, 1, row, _columns(place, head))])


def _customers(rows: list[tuple[float, ...]]) -> Customers:
    repeats, span, age, mean = np.array(rows).T
    return Customers(repeats, np.minimum(span, age), age, np.where(mean > 0, repeats, 0.0), mean)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    found = {}
    names = [name.strip().lower() for name in header]
    for what, known in _NAMES.items():
        places = [i for i, name in enumerate(names) if name in known]
        if len(places) > 1:
            both = ", ".join(header[i] for i in places)
            raise InputError(f"{path}:1: the columns {both} say the same: keep one of them")
        if places:
            found[what] = places[0]
        elif what in _NEEDED:
            raise InputError(
                f"{path}:1: no column {' or '.join(known)}; a file of customers has the columns frequency, recency, T and, "
                "if it is known, monetary_value"
            )
    return found


def _row(path: Path, line: int, row: Sequence[str], columns: dict[str, int]) -> tuple[float, ...]:
    values = {what: _number(path, line, row, at, what) for what, at in columns.items()}
    x, span, age = (values[what] for what in _NEEDED)

    def refuse(what: str, why: str) -> InputError:
        return InputError(f"{path}:{line}: {_NAMES[what][0]}: {why}")

    if x != int(x):
        raise refuse("repeats", f"{x:g} is not a whole number of repeat purchases")
    if span > age + _SLACK:
        raise refuse("span", f"the last purchase ({span:g}) is after the end ({age:g})")
    if x == 0 and span > 0:
        raise refuse("span", f"{span:g} without a repeat purchase; it must be 0 then")
    if x > 0 and span == 0:
        raise refuse("span", "0 with repeat purchases; purchases of one day count once")
    return x, span, age, values.get("mean", 0.0)


def _number(path: Path, line: int, row: Sequence[str], at: int, what: str) -> float:
    text = row[at].strip() if at < len(row) else ""
    if not text and what not in _NEEDED:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{path}:{line}: {_NAMES[what][0]}: {text!r} is not a number of 0 or more")
    return value
