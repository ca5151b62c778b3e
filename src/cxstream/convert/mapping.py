"""The mapping file: what a row of somebody's CSV, JSON or Parquet means as touchpoints.

The types below are the format; docs/convert.md explains each key with an example. A mapping is read once
and checked as a whole, before any row is.
"""

from __future__ import annotations

import difflib
import tomllib
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from cxstream.convert.formats import expanded, swapped
from cxstream.convert.times import NAMED
from cxstream.convert.zones import offset_ms
from cxstream.model.errors import InputError
from cxstream.model.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

Scalar: TypeAlias = str | int | float | bool
OneCharacter = Annotated[str, Meta(min_length=1, max_length=1)]


class Input(Struct, frozen=True, forbid_unknown_fields=True):
    """What the files are.

    Attributes:
        format: csv or ndjson (JSON of any layout); by name and first bytes where it is not said. Parquet is told by itself.
        delimiter: between the cells of a CSV; a comma, or a tab where the file's name ends in .tsv.
        quote: the character that CSV cells are quoted with; "" where quotes mean nothing.
        escape: the character that takes away the meaning of the one after it, in a CSV that has one.
        encoding: of a CSV, as Python calls it; a byte order mark or the NULs of UTF-16 say more.
        columns: of a CSV without a header line.
        skip_lines: how many lines of a CSV come before its header, or before its rows where it has none.
        header_rows: how many rows the header of a CSV has; the first of them names the columns.
        decimal: the decimal separator of numbers written as text.
        thousands: what groups their digits, if anything does.
        grouping: whether all groups have three digits, or the Indian way: three, then two.
        currency_signs: what may stand beside a number, such as a sign or a code.
        empty: texts and numbers that stand for no value; those of `nothing.NOTHING` for optional values where it is
            not said.
    """

    format: Literal["csv", "ndjson"] | None = None
    delimiter: OneCharacter | None = None
    quote: Annotated[str, Meta(max_length=1)] = '"'
    escape: OneCharacter | None = None
    encoding: str = "utf-8"
    columns: list[str] | None = None
    skip_lines: Annotated[int, Meta(ge=0)] = 0
    header_rows: Annotated[int, Meta(ge=1)] = 1
    decimal: Literal[".", ","] = "."
    thousands: Annotated[str, Meta(max_length=1)] = ""
    grouping: Literal["thousands", "indian"] = "thousands"
    currency_signs: list[Annotated[str, Meta(min_length=1)]] = []
    empty: list[Scalar] | None = None

    def __post_init__(self) -> None:
        if self.thousands == self.decimal:
            raise ValueError(f"thousands: {self.thousands!r} is the decimal separator, too")
        if self.thousands and (self.thousands.isalnum() or self.thousands in "+-"):
            raise ValueError(f"thousands: {self.thousands!r} can be a part of a number")
        if any(char.isdigit() for sign in self.currency_signs for char in sign):
            raise ValueError("currency_signs: a sign has no digits")


class Place(Struct, frozen=True, forbid_unknown_fields=True):
    """Where in a row a value is: exactly one of the three.

    Attributes:
        column: a column of a CSV; in JSON and Parquet a path (see `paths`).
        columns: several, of which the first that is not empty counts.
        template: text with `{column}` in it; empty where one of the columns is.
    """

    column: str | None = None
    columns: list[str] | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.column, self.columns, self.template)) != 1:
            raise ValueError("wants exactly one of column, columns and template")
        if self.columns == []:
            raise ValueError("columns: names none")

    def names(self) -> list[str]:
        """The columns in it; none of a template that cannot be read."""
        if self.column is not None:
            return [self.column]
        if self.columns is not None:
            return self.columns
        try:
            return [name for _, name, _, _ in Formatter().parse(self.template or "") if name]
        except ValueError:
            return []


class Value(Place, frozen=True, forbid_unknown_fields=True):
    """A value of a row and what becomes of it.

    Attributes:
        map: what each text stands for.
        otherwise: for what the map does not name; without it that is a problem, but for numbers under a map that
            names none.
        empty: texts and numbers that stand for no value here; by the input where it is not said.
        default: for an empty value; without it the attribute is left out.
        required: an empty value is a problem.
        type: text, number, duration (in seconds), flag (true or false) or list; by the attribute where it is not said.
        multiply: numbers are multiplied by this.
        divide: numbers are divided by this (cents by 100: exact, where a multiplication by 0.01 is not).
        separator: between the items of a list that is written as text.
    """

    map: dict[str, Scalar] | None = None
    otherwise: Scalar | None = None
    empty: list[Scalar] | None = None
    default: Scalar | None = None
    required: bool = False
    type: Literal["text", "number", "duration", "flag", "list"] | None = None
    multiply: float = 1
    divide: Annotated[float, Meta(gt=0)] = 1
    separator: str = " "

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.otherwise is not None and self.map is None:
            raise ValueError("otherwise: there is no map")
        if self.required and self.default is not None:
            raise ValueError("required: a value with a default is never empty")


def _plain(form: str) -> str:
    return form if form in NAMED else expanded(form)


class When(Place, frozen=True, forbid_unknown_fields=True):
    """When something happened.

    Attributes:
        format: iso, epoch_s, epoch_ms, epoch_us, epoch_ns, excel, excel_1904, or a format in the directives of
            strptime; iso where nothing is said.
        formats: several, of which the first that reads a value counts.
        zone: IANA time zone of times without an offset.
        zones: offsets of names of zones, for `%Z`.
        ambiguous: which one is meant of two equal local times, as clocks go back.
    """

    format: str | None = None
    formats: list[str] | None = None
    zone: str | None = None
    zones: dict[str, str] = {}
    ambiguous: Literal["earlier", "later"] = "earlier"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format is not None and self.formats is not None:
            raise ValueError("wants one of format and formats")
        if self.formats == []:
            raise ValueError("formats: names none")
        for form in self.all_formats():
            if form not in NAMED:
                expanded(form)
        for offset in self.zones.values():
            offset_ms(offset)
        self._check_order()

    def all_formats(self) -> list[str]:
        """The formats to try, in order."""
        return self.formats or [self.format or "iso"]

    def _check_order(self) -> None:
        forms = self.all_formats()
        other = next((form for form in forms if (back := swapped(form)) and back in map(_plain, forms)), None)
        if other is not None:
            raise ValueError(
                f"formats: {other!r} and the same with day and month swapped would both read 3/4, as different days;"
                " keep one, or convert the files one by one"
            )


class Test(Struct, frozen=True, forbid_unknown_fields=True):
    """What a column must be like; all that is said must hold.

    Attributes:
        present: whether it is not empty.
        is_not: not this, or none of these.
        above: a number larger than this.
        below: a number smaller than this.
        at_least: a number not smaller than this.
        at_most: a number not larger than this.
    """

    present: bool | None = None
    is_not: Scalar | list[Scalar] | None = field(default=None, name="not")
    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None


Condition: TypeAlias = Scalar | list[Scalar] | Test
Constant: TypeAlias = Scalar | list[str]


class Defaults(Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for every event that does not say otherwise; the attributes are those of `Event`."""

    id: Value | None = None
    source: str | Value | None = None
    subject: Value | None = None
    time: When | None = None
    data: dict[str, Constant | Value] = {}


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    """One touchpoint that a row can give.

    Attributes:
        kind: of touchpoint.
        when: which rows give it; all of them where it is not said.
        id: of the event within `source`; by file name and line where it is not said.
        source: the system that it comes from.
        subject: the customer.
        time: when it happened.
        data: the attributes, constants or values of the row.
    """

    kind: str
    when: dict[str, Condition] = {}
    id: Value | None = None
    source: str | Value | None = None
    subject: Value | None = None
    time: When | None = None
    data: dict[str, Constant | Value] = {}


class Skip(Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to leave out on purpose, and the reason to count them by."""

    when: dict[str, Condition]
    reason: str


class Mapping(Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping file.

    Attributes:
        input: what the files are.
        defaults: what the events share.
        skip: rows to leave out, looked at first.
        event: what the other rows give; a row may give several.
    """

    input: Input = Input()
    defaults: Defaults = Defaults()
    skip: list[Skip] = []
    event: list[Event] = []

    def columns(self) -> set[str]:
        """The names of all columns that the mapping uses."""
        events = self.complete()
        names = {column for skip in self.skip for column in skip.when}
        names.update(column for event in events for column in event.when)
        for event in events:
            for spec in (event.id, event.source, event.subject, event.time, *event.data.values()):
                if isinstance(spec, Place):
                    names.update(spec.names())
        return names

    def complete(self) -> list[Event]:
        """The events with the defaults filled in.

        Raises:
            ValueError: an event lacks what every event must have; says which and what.
        """
        if not self.event and not self.skip:
            raise ValueError("there is no [[event]]")
        whole = [self._filled(event) for event in self.event]
        for number, event in enumerate(whole, 1):
            for name in ("source", "subject", "time"):
                if getattr(event, name) is None:
                    raise ValueError(
                        f"event {number} ({event.kind}): {name} is missing, here and in the defaults"
                    )
        return whole

    def _filled(self, event: Event) -> Event:
        shared = self.defaults
        return msgspec.structs.replace(
            event,
            id=event.id or shared.id,
            source=event.source or shared.source,
            subject=event.subject or shared.subject,
            time=event.time or shared.time,
            data={**shared.data, **event.data},
        )


def load(path: Path, *, defaults: Defaults | None = None, own: Collection[str] = ()) -> Mapping:
    """Read a mapping file.

    Args:
        path: of the TOML file.
        defaults: for what the file's own defaults do not say.
        own: the kinds of the company's own.

    Raises:
        InputError: it cannot be read, is no TOML, or not a mapping; names the key.
    """
    try:
        mapping = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Mapping)
        if defaults is not None:
            mapping = msgspec.structs.replace(mapping, defaults=_under(mapping.defaults, defaults))
        mapping.complete()
        _require_kinds(mapping, own)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # the syntax, a wrong type or name, or one of the checks above
        raise InputError(f"{path}: {error}; docs/convert.md explains each key") from error
    return mapping


_BUILT_IN = tuple(kind.label for kind in Kind)


def unknown_kind(kind: str, own: Collection[str]) -> str:
    """Why a kind cannot be used, and what to do; "" if it exists.

    Args:
        kind: its name.
        own: the kinds of the company's own.
    """
    known = [*_BUILT_IN, *own]
    if kind in known:
        return ""
    near = difflib.get_close_matches(kind, known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return (
        f"{kind!r} is no kind{meant} (there are {', '.join(known)}); a kind of your own must be in the rules, as "
        f"[scoring.kinds.{kind}]: name their file with --rules"
    )


def _require_kinds(mapping: Mapping, own: Collection[str]) -> None:
    """Refuse kinds that do not exist.

    Raises:
        ValueError: names the first one.
    """
    for number, event in enumerate(mapping.event, 1):
        if wrong := unknown_kind(event.kind, own):
            raise ValueError(f"event {number}: kind: {wrong}")


def _under(own: Defaults, below: Defaults) -> Defaults:
    return Defaults(
        id=own.id or below.id,
        source=own.source or below.source,
        subject=own.subject or below.subject,
        time=own.time or below.time,
        data={**below.data, **own.data},
    )
