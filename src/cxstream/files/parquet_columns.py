"""Columns of Parquet as the plain values that JSON has: texts, numbers, flags, lists and objects.

    extension<arrow.json>   the JSON value        date32, date64, time   ISO text
    extension<arrow.uuid>   text                  timestamp with a zone  RFC 3339 in UTC
    string, large_string,   text                  timestamp without one  the same without an offset, or in UTC
      string_view
    binary                  UTF-8 text, else hex  decimal                a number
    struct, map             an object             list of any kind       a list

NaN is what pandas writes for a missing number, and so is null.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import orjson
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import types

Plain: TypeAlias = Callable[[Any], Any] | None
"""Makes a value that pyarrow gives plain; None where it is already."""

_EXACT = 2**53
# What fits into 64 bits, as JSON is written here.
_MOST_WHOLE = 2**63
_UUID_BYTES = 16


def stored(kind: Any) -> Any:
    """The type of the values, without a dictionary or an extension around them."""
    while True:
        if types.is_dictionary(kind):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def extension(kind: Any) -> str:
    """The name of the extension that a type is; "" where it is none."""
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return str(kind.extension_name) if isinstance(kind, pa.BaseExtensionType) else ""


def is_text(kind: Any) -> bool:
    """Whether values are texts."""
    return types.is_string(kind) or types.is_large_string(kind) or _is_view(kind, "is_string_view")


def is_binary(kind: Any) -> bool:
    """Whether values are bytes of any number, which some writers use for texts."""
    return types.is_binary(kind) or types.is_large_binary(kind) or _is_view(kind, "is_binary_view")


def _is_view(kind: Any, test: str) -> bool:
    return bool(getattr(types, test, lambda _: False)(kind))


def is_uuid(kind: Any) -> bool:
    """Whether values are UUIDs."""
    return extension(kind) == "arrow.uuid"


def is_json(kind: Any) -> bool:
    """Whether values are texts of JSON."""
    return extension(kind) == "arrow.json"


def values(column: Any, *, utc: bool) -> list[Any]:
    """The values of a column.

    Args:
        column: of any type.
        utc: timestamps without a zone are in UTC; else they come without an offset.

    Raises:
        UnicodeDecodeError: bytes that must be text are not UTF-8 (with `utc`, of an event).
    """
    kind = column.type
    if types.is_dictionary(kind):
        return values(column.dictionary_decode(), utc=utc)
    if types.is_timestamp(kind):
        return times(column, utc=utc)
    if types.is_struct(kind) and len({field.name for field in kind}) == kind.num_fields:
        return _objects(column)
    make: Plain
    if isinstance(kind, pa.BaseExtensionType):
        column = column.storage
        make = _uuid if is_uuid(kind) else parsed if is_json(kind) else _plain(column.type)
    else:
        make = _strict_text if is_binary(kind) and utc else _plain(kind)
    found: list[Any] = column.to_pylist()
    return found if make is None else [None if value is None else make(value) for value in found]


def _objects(column: Any) -> list[dict[str, Any] | None]:
    """The objects of a struct column, a field after the other: most fields are null in most rows."""
    found: list[dict[str, Any] | None] = [{} if there else None for there in column.is_valid().to_pylist()]
    for field, part in zip(column.type, column.flatten(), strict=True):
        if part.null_count == len(part):
            continue
        make, name = inner(field.type), field.name
        plain = part.dictionary_decode() if types.is_dictionary(part.type) else part
        for row, value in zip(found, plain.to_pylist(), strict=True):
            if value is not None and row is not None:
                shown = value if make is None else make(value)
                if shown is not None:
                    row[name] = shown
    return found


def _uuid(raw: bytes) -> str:
    return str(UUID(bytes=raw))


def _strict_text(raw: bytes) -> str:
    return raw.decode("utf-8")


def in_ms(column: Any) -> Any:
    """Timestamps in whole milliseconds.

    Raises:
        pa.ArrowInvalid: seconds that 64 bits of milliseconds cannot have.
    """
    kind = pa.timestamp("ms", column.type.tz)
    return column.cast(options=pc.CastOptions(kind, allow_time_truncate=True))


def times(column: Any, *, utc: bool) -> list[str | None]:
    """RFC 3339 in UTC with milliseconds; a timestamp without a zone is in UTC, or has no offset."""
    milliseconds = in_ms(column)
    # Through integers: formatting a zoned timestamp needs a time zone database, which slim images lack.
    bare = milliseconds.cast(pa.int64()).cast(pa.timestamp("ms"))
    form = "%Y-%m-%dT%H:%M:%SZ" if utc or column.type.tz else "%Y-%m-%dT%H:%M:%S"
    found: list[str | None] = pc.strftime(bare, format=form).to_pylist()
    return found


@lru_cache(maxsize=256)
def _plain(kind: Any) -> Plain:
    if types.is_struct(kind):
        return _object([(field.name, inner(field.type)) for field in kind])
    if types.is_map(kind):
        of = inner(kind.item_type)
        return lambda pairs: {
            str(name): value if of is None or value is None else of(value) for name, value in pairs
        }
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = inner(kind.value_type)
        return (
            None if item is None else lambda items: [None if each is None else item(each) for each in items]
        )
    return next((plain for is_one, plain in _SCALARS if is_one(kind)), None)


def _number(value: float) -> float | str | None:
    return None if math.isnan(value) else value if math.isfinite(value) else str(value)


def _decimal(value: Decimal) -> float:
    return int(value) if value == value.to_integral_value() else float(value)


def _json_number(value: Decimal) -> float:
    return _decimal(value) if abs(value) < _MOST_WHOLE else float(value)


def _time(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def _text_or_hex(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.hex()


_SCALARS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (types.is_floating, _number),
    (types.is_decimal, _decimal),
    (types.is_fixed_size_binary, bytes.hex),
    (is_binary, _text_or_hex),
    (types.is_temporal, _time),
)


def inner(kind: Any) -> Plain:
    """As `_plain`, for values within others: they come as pyarrow's `to_pylist` gives them."""
    if is_json(kind):
        return parsed
    if is_uuid(kind):
        return str
    if types.is_decimal(stored(kind)):
        return _json_number
    return _plain(stored(kind))


def _object(fields: list[tuple[str, Plain]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Without nulls: a struct has a place for every field in every row."""
    shaped = {name: plain for name, plain in fields if plain is not None}
    if not shaped:
        return lambda value: {name: item for name, item in value.items() if item is not None}

    def plain(value: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, item in value.items():
            if item is not None:
                make = shaped.get(name)
                shown = item if make is None else make(item)
                if shown is not None:
                    found[name] = shown
        return found

    return plain


def parsed(text: str | bytes) -> Any:
    """The JSON value of a text; the text where it is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def as_json(text: str | bytes | None) -> Any:
    """The JSON value in a text as it stands; text that is no JSON stays one, for the decoder to reject."""
    if text is None:
        return None
    try:
        return orjson.Fragment(bytes(msgspec.json.decode(text, type=msgspec.Raw)))
    except (msgspec.DecodeError, RecursionError):
        return text if isinstance(text, str) else text.decode("utf-8", "replace")


def identifier(value: Any) -> Any:
    """A whole number as text: 7, 7.0 and a decimal 7 are `7`; what cannot be exact stays a number, to be rejected.

    >>> [identifier(value) for value in (7, 7.0, "a", 7.5, 1e300, None)]
    ['7', '7', 'a', 7.5, 1e+300, None]
    """
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else value
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value
