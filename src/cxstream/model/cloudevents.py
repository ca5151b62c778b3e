"""CloudEvents 1.0 in Kafka records, both content modes of the Kafka protocol binding.

    structured   content-type: application/cloudevents+json    the value is the whole event
    binary       ce_<attribute> headers, content-type: <any>   the value is `data`

A record with neither a content-type nor a `ce_specversion` header is taken as structured: that is what a plain
JSON producer sends. A header without a value (null) counts as absent. The binding: cloudevents/spec,
bindings/kafka-protocol-binding.md, section 3.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from cxstream.model.errors import CloudEventError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Kafka allows a header without a value.
Headers: TypeAlias = "Sequence[tuple[str, bytes | None]]"

_PREFIX = "ce_"
# A header that was meant as an attribute, but is none: of HTTP's binding (ce-id), or in upper case.
_MISNAMED = re.compile(r"ce_.*[A-Z]|(?i:ce)[-_](?<!ce_)")
_CONTENT_TYPE = "content-type"
_SHORT = 128  # characters of a content type that is worth remembering
_STRUCTURED = "application/cloudevents+json"
_RESERVED = "application/cloudevents"
_encode = msgspec.json.encode


def content_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record's key, value and headers, not compressed and without what Kafka's format adds."""
    texts = sum(len(_name_bytes(name)) + len(text or b"") for name, text in headers)
    return len(key or b"") + len(value or b"") + texts


def names_are_text(headers: Headers) -> bool:
    """Whether the names of all headers are UTF-8; of others each wrong byte is a lone surrogate."""
    return all(name.isascii() or _is_text(name) for name, _ in headers)


def require_text(headers: Headers) -> None:
    """Refuse headers whose names are not UTF-8: their record could not be forwarded as it is.

    Raises:
        CloudEventError: there is one.
    """
    if not names_are_text(headers):
        raise CloudEventError("the name of a header is not UTF-8; send names in UTF-8")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name_bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def is_binary(headers: Headers) -> bool:
    """Whether a record is in the binary content mode.

    Raises:
        CloudEventError: the content type is another format of CloudEvents than JSON.
    """
    kind = _media_type(_content_type(headers))
    if kind == _STRUCTURED:
        return False
    if kind.startswith(_RESERVED):
        raise CloudEventError(f"{kind} is not read; send {_STRUCTURED} or binary mode", "content-type")
    return bool(kind) or any(name == "ce_specversion" and value is not None for name, value in headers)


def structured(headers: Headers, value: bytes | None) -> bytes:
    """The structured JSON of a record: its value as it is, or the event that its headers and value make up.

    JSON data is carried over byte for byte, so that it is decoded once, and under the same rules in both modes. Of a
    header that comes twice the last one counts.

    Raises:
        CloudEventError: a header is not UTF-8, the data of a record in binary mode is not the JSON that its
            content type promises, or the content type is a format of CloudEvents that is not read. A structured
            record is not looked into.
    """
    if not is_binary(headers):
        return value or b""
    attributes = _attributes(headers)
    event: dict[str, Any] = dict(attributes)
    event.pop("data", None)
    if value is not None:
        if _is_json(attributes.get("datacontenttype", "")):
            event["data"] = _raw(value)
        else:
            event["data_base64"] = value
    return _encode(event)


def remark(headers: Headers) -> str:
    """What a person should know who wonders why a record with such headers was rejected; "" where there is nothing.

    Raises:
        CloudEventError: as `is_binary`.
    """
    remarks = []
    if is_binary(headers):
        attributes = _attributes(headers)
        content_type = attributes.pop("datacontenttype", "")
        if not attributes:
            remarks.append(
                f"the value was taken as `data` (binary mode), because content-type is {content_type!r} and there are "
                f"no ce_ headers: for a value that is the whole event send content-type {_STRUCTURED}, or no "
                "content-type; otherwise send the attributes as headers (ce_specversion, ce_id, ce_source, ce_type, "
                "ce_subject, ce_time)"
            )
        elif not _is_json(content_type):
            remarks.append(
                f"`data` is not read, because content-type is {content_type!r}: send application/json"
            )
    misnamed = sorted({name for name, value in headers if value is not None and _MISNAMED.match(name)})
    if misnamed:
        remarks.append(
            f"these headers are not read: {', '.join(misnamed)}; in Kafka, headers of attributes begin with ce_ and "
            "are in lower case"
        )
    return "; ".join(remarks)


def _attributes(headers: Headers) -> dict[str, str]:
    found = {
        name[len(_PREFIX) :]: _text(name, value)
        for name, value in headers
        if name.startswith(_PREFIX) and value is not None
    }
    if content_type := _content_type(headers):
        found["datacontenttype"] = content_type
    return found


def _content_type(headers: Headers) -> str:
    found = ""
    for name, value in headers:
        if len(name) == len(_CONTENT_TYPE) and name.lower() == _CONTENT_TYPE and value is not None:
            found = _text(name, value)
    return found


def _media_type(content_type: str) -> str:
    return _remembered(content_type) if len(content_type) <= _SHORT else _parsed(content_type)


def _parsed(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


# There are few of them, and one comes with every record.
_remembered = functools.lru_cache(maxsize=64)(_parsed)


def _is_json(content_type: str) -> bool:
    kind = _media_type(content_type)
    return kind in {"", "application/json", "text/json"} or kind.endswith("+json")


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CloudEventError("a header that is not UTF-8 text", name) from None


def _raw(value: bytes) -> msgspec.Raw:
    """The value, once it is known to be one JSON value: what is pasted into an event must not end it."""
    try:
        return msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CloudEventError(f"not JSON: {error}", "data") from None


def text_of(name: str, value: object) -> str:
    """The canonical text of an attribute's value, which is the same in both content modes.

    Raises:
        CloudEventError: no attribute has such a value.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    raise CloudEventError("an attribute is a string, an integer or a boolean", name)
