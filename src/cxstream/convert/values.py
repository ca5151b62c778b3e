"""Values out of rows: each `Value` of a mapping becomes one function of a row, made once per file."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from cxstream.convert.durations import seconds
from cxstream.convert.nothing import LEFT_OUT, NOTHING
from cxstream.convert.numbers import number_reader, whole
from cxstream.convert.paths import written
from cxstream.convert.report import RowProblemError
from cxstream.convert.survey import Survey, is_placeholder
from cxstream.convert.times import LocalClock, any_of, parser
from cxstream.convert.zones import ZoneNames
from cxstream.model.errors import InputError
from cxstream.model.fields import Data

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterable

    from cxstream.convert.mapping import Input, Place, Scalar, Value, When
    from cxstream.convert.report import Report
    from cxstream.convert.rows import Table

Get: TypeAlias = Callable[[Any], Any]
"""A row's value; None where it is empty."""

Columns: TypeAlias = Callable[[str], Get]
"""Finds a column of this input by its name; in JSON by its path."""

Type: TypeAlias = Literal["text", "number", "duration", "flag", "list"]

DAYS = "durations below one second: if they are fractions of a day, as in Excel, set multiply = 86400"

_FLAGS = {
    **dict.fromkeys(("true", "yes", "y", "t", "1"), True),
    **dict.fromkeys(("false", "no", "n", "f", "0"), False),
}


def _type_of(info: msgspec.inspect.Type) -> Type:
    if isinstance(info, msgspec.inspect.UnionType):
        info = next(part for part in info.types if not isinstance(part, msgspec.inspect.NoneType))
    if isinstance(info, msgspec.inspect.FloatType):
        return "number"
    if isinstance(info, msgspec.inspect.BoolType):
        return "flag"
    return "list" if isinstance(info, msgspec.inspect.ListType) else "text"


def _attribute_types() -> dict[str, Type]:
    info = msgspec.inspect.type_info(Data)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - Data is one
    return {attribute.encode_name: _type_of(attribute.type) for attribute in info.fields}


ATTRIBUTE_TYPES = _attribute_types()
"""The type of each attribute of the contract; any other attribute is text unless the mapping says more."""


def csv_columns(table: Table) -> Columns:
    """Columns of a CSV; cells lose the blanks around them."""

    def column(name: str) -> Get:
        cell = itemgetter(table.index(name))
        return lambda row: cell(row).strip() or None

    return column


def without(
    columns: Columns,
    nothing: Iterable[Scalar],
    named: Collection[str] = (),
    told: Callable[[], None] = lambda: None,
) -> Columns:
    """Columns that are empty also where they have what stands for nothing.

    Args:
        columns: of the input.
        nothing: the texts and numbers.
        named: which of them mean something here.
        told: is called for each such value.
    """
    texts = frozenset(written(text) for text in nothing) - frozenset(named)
    if not texts:
        return columns

    def column(name: str) -> Get:
        get = columns(name)

        def find(row: Any) -> Any:
            found = get(row)
            text = found if found.__class__ is str or found is None else written(found)
            if text is None or text not in texts:
                return found
            told()
            return None

        return find

    return column


def place(spec: Place, columns: Columns) -> Get:
    """The function that finds the value a mapping speaks of."""
    if spec.column is not None:
        return columns(spec.column)
    if spec.columns is not None:
        return _first([columns(name) for name in spec.columns])
    return _template(spec.template or "", columns)


def name_of(spec: Place) -> str:
    """What a message calls the place."""
    return spec.column or "/".join(spec.columns or ()) or spec.template or ""


def _first(choices: list[Get]) -> Get:
    def get(row: Any) -> Any:
        for choice in choices:
            if (value := choice(row)) is not None:
                return value
        return None

    return get


def _template(text: str, columns: Columns) -> Get:
    try:
        parts = [(literal, name) for literal, name, _, _ in Formatter().parse(text)]
    except ValueError as error:
        raise InputError(f"template {text!r}: {error}; write {{{{ and }}}} for braces") from error
    getters = [(literal, columns(name) if name else None) for literal, name in parts]

    def get(row: Any) -> str | None:
        filled = []
        for literal, column in getters:
            filled.append(literal)
            if column is not None:
                value = written(column(row))
                if value is None:
                    return None
                filled.append(value)
        return "".join(filled)

    return get


def value(
    name: str, spec: Value, columns: Columns, source: Input, notes: Counter[str], *, optional: bool = True
) -> Get:
    """The function that gives an attribute's value, or None where the row has none.

    Args:
        name: of the attribute.
        spec: what the mapping says.
        columns: of the input.
        source: how the input writes numbers, and what stands for nothing.
        notes: counts what stands for nothing though the mapping does not say so.
        optional: whether such texts are nothing here; an id is never left out.

    Returns:
        A function that raises RowProblemError for a value that cannot be read.
    """
    said = spec.empty if spec.empty is not None else source.empty
    if said is not None:
        columns = without(columns, said, spec.map or ())
    elif optional:
        columns = without(columns, NOTHING, spec.map or (), lambda: notes.update((LEFT_OUT,)))
    find, where = place(spec, columns), name_of(spec)
    convert = _converter(name, spec, where, source, notes)
    if spec.map is not None:
        convert = _mapped(spec, where, convert if _reads_numbers_beside(name, spec, source) else None)
    default, required = spec.default, spec.required

    def get(row: Any) -> Any:
        raw = find(row)
        if raw is not None:
            return convert(raw)
        if required:
            raise RowProblemError(where, "missing", f"is empty; {name} needs it")
        return default

    return _short_cut(find, get) if spec.map is None and _type_for(name, spec) == "text" else get


def _short_cut(find: Get, get: Get) -> Get:
    """For texts, nearly all of which are texts already."""

    def short(row: Any) -> Any:
        raw = find(row)
        return raw if raw.__class__ is str else get(row)

    return short


def _type_for(name: str, spec: Value) -> Type:
    return spec.type or ATTRIBUTE_TYPES.get(name, "text")


def _reads_numbers_beside(name: str, spec: Value, source: Input) -> bool:
    """Whether what the map does not name is read as a number: the map names words only, "N/A" or "10 - likely"."""
    if spec.otherwise is not None or _type_for(name, spec) not in {"number", "duration"}:
        return False
    read = number_reader(source)
    for text in spec.map or ():
        with suppress(ValueError):
            read(text)
            return False
    return True


def _mapped(spec: Value, where: str, others: Get | None) -> Get:
    table, otherwise = spec.map or {}, spec.otherwise

    def convert(raw: Any) -> Any:
        found = table.get(written(raw) or "", otherwise)
        if found is not None:
            return found
        if others is not None:
            return others(raw)
        message = f"{str(raw)[:40]!r} is not in the map, which has no `otherwise`"
        raise RowProblemError(where, "unmapped_value", message)

    return convert


def _converter(name: str, spec: Value, where: str, source: Input, notes: Counter[str]) -> Get:
    kind = _type_for(name, spec)
    if kind in {"number", "duration"}:
        return _number(spec, where, source, kind, notes)
    if kind == "flag":
        return _flag(where)
    return _list(spec.separator, where) if kind == "list" else _text(where)


def _text(where: str) -> Get:
    def convert(raw: Any) -> str:
        if raw.__class__ is str:
            text: str = raw
            return text
        found = written(raw)
        if found is None:
            raise RowProblemError(where, "not_text", f"{str(raw)[:40]!r} is not a text")
        return found

    return convert


def _number(spec: Value, where: str, source: Input, kind: Type, notes: Counter[str]) -> Get:
    read, multiply, divide = number_reader(source), spec.multiply, spec.divide
    scaled = multiply != 1 or divide != 1
    reason = "unreadable_duration" if kind == "duration" else "unreadable_number"

    def convert(raw: Any) -> float:
        try:
            number = read(raw) if kind == "number" else seconds(raw, read)
        except ValueError as error:
            raise RowProblemError(where, reason, str(error)) from None
        if scaled:
            number = number * multiply / divide
        elif kind == "duration" and 0 < number < 1:
            notes[DAYS] += 1
        if not math.isfinite(number):
            raise RowProblemError(where, reason, f"{str(raw)[:40]!r} is too large a number")
        return whole(number)

    return convert


def _flag(where: str) -> Get:
    def convert(raw: Any) -> bool:
        found = _FLAGS.get((written(raw) or "").lower())
        if found is None:
            raise RowProblemError(
                where, "unreadable_flag", f"{str(raw)[:40]!r} is neither true nor false; map it"
            )
        return found

    return convert


def _list(separator: str, where: str) -> Get:
    def convert(raw: Any) -> list[str]:
        if isinstance(raw, str):
            return [item for part in raw.split(separator or None) if (item := part.strip())]
        items = [written(item) for item in raw] if isinstance(raw, list) else [None]
        if None in items:
            raise RowProblemError(where, "not_a_list", f"{str(raw)[:40]!r} is not a list of texts")
        return [item for item in items if item is not None]

    return convert


def time(spec: When, columns: Columns, report: Report) -> Callable[[Any], int]:
    """The function that gives the time of a row in ms UTC, or raises RowProblemError."""
    find, where, forms = place(spec, columns), name_of(spec), spec.all_formats()
    clock = LocalClock(spec.zone, report.notes, spec.ambiguous) if spec.zone else None
    names = ZoneNames(spec.zones, clock.zone if clock else None)
    survey = report.surveys.setdefault(repr(spec), Survey(forms))
    parse = any_of([parser(form, clock, names, survey.set_local) for form in forms], forms)

    def get(row: Any) -> int:
        raw = find(row)
        if raw is None:
            raise RowProblemError(where, "missing", "is empty; an event needs a time")
        survey.local = None
        try:
            ms = parse(raw)
        except (ValueError, OverflowError, InputError) as error:
            if is_placeholder(raw, None, survey.local):
                raise RowProblemError(
                    where, "missing", f"{raw!r} stands for no time; an event needs one"
                ) from error
            survey.bad(raw)
            raise RowProblemError(where, "unreadable_time", str(error)) from error
        if is_placeholder(raw, ms, survey.local):
            raise RowProblemError(where, "missing", f"{raw!r} stands for no time; an event needs one")
        survey.good(raw, ms)
        return ms

    return get
