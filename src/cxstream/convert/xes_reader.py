"""Events of an XES log (IEEE 1849) as rows, from a stream of XML.

    bytes -> expat -> start and end of elements -> one row an event: {attribute: text}

Memory holds the attributes that are wanted of one trace and one event, whatever the size of the log. Entities of the
document are refused, so nothing in a log expands or is fetched.
"""

from __future__ import annotations

import re
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, NoReturn
from xml.parsers import expat

from cxstream.convert.times import LocalClock, parser
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator

    from cxstream.convert.report import Report
    from cxstream.convert.stream import Stream

ID, TRANSITION = "cxstream:id", "cxstream:transition"
"""Columns that the reader makes: an id of the event's content, and the lifecycle transition in small letters."""

COMPLETE = "complete"
"""The transition of an event that names none."""

SEVERAL = "activities have several transitions ({}): --lifecycle complete keeps one event of each"

_ATTRIBUTES = frozenset(("string", "date", "int", "float", "boolean", "id", "list", "container"))
_IDENTITY = ("case:concept:name", "concept:name", "org:resource", "time:timestamp")
_MAX_DEPTH = 64
_MAX_TOKEN = 16 << 20
_REMEMBERED = 10_000
# Each start tag is looked at with the rest of its piece.
_PIECE_BYTES = 1 << 15
_TAG = re.compile(r"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)[^#&;]*;")
_TOLD = 8

Row = dict[str, str]


class XesReader:
    """The events of one log, each with the line on which it begins.

    Args:
        stream: the log.
        report: counts events.
        wanted: the attributes that will be asked for.
        whole: whether events of all transitions are kept; a log that has several is then noted.

    An attribute within another one is called `outer/inner`; one of the trace has `case:` before its name.
    """

    def __init__(
        self, stream: Stream, report: Report, wanted: Collection[str], *, whole: bool = True
    ) -> None:
        self._stream = stream
        self._whole = whole
        self._report = report
        self._wanted = frozenset(wanted) | {*_IDENTITY, "identity:id", "lifecycle:transition"}
        self._elements: list[str] = []
        self._keys: list[str] = []
        self._trace: Row | None = None
        self._event: Row | None = None
        self._line = 0
        self._rows: list[tuple[int, Row]] = []
        self._seen: dict[bytes, int] = {}
        self._transitions: dict[str, int] = {}
        self._ms = parser("iso", LocalClock("UTC", report.notes.__class__()))
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.EntityDeclHandler = self._entity
        self._parser.SkippedEntityHandler = self._undefined
        self._parser.NotStandaloneHandler = self._found_dtd
        self._may_skip = False

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """The events, in the order of the file.

        Raises:
            InputError: the input cannot be read, is no XML or no XES, or declares entities.
        """
        fed = 0
        for block in self._stream:
            fed += len(block)
            self._parse(block, fed)
            yield from self._taken()
        self._parse(b"", fed, final=True)
        yield from self._taken()
        self._tell_transitions(self._report.notes)

    def _taken(self) -> list[tuple[int, Row]]:
        rows, self._rows = self._rows, []
        self._report.rows[self._stream.name] += len(rows)
        return rows

    def _parse(self, block: bytes, fed: int, *, final: bool = False) -> None:
        try:
            if self._may_skip and not final:
                for begin in range(0, len(block), _PIECE_BYTES):
                    self._parser.Parse(block[begin : begin + _PIECE_BYTES], False)
            else:
                self._parser.Parse(block, final)
        except expat.ExpatError as error:
            what = expat.errors.messages.get(error.code, str(error))
            raise self._malformed(what, error.lineno, error.offset) from error
        except (ValueError, LookupError) as error:
            raise InputError(
                f"{self._stream.name}:{self._parser.CurrentLineNumber}: {error}; save the log as UTF-8"
            ) from error
        if not final and fed - self._parser.CurrentByteIndex > _MAX_TOKEN:
            self._refuse(f"has an element or comment of more than {_MAX_TOKEN >> 20} MiB")

    def _malformed(self, what: str, line: int, column: int) -> InputError:
        return InputError(
            f"{self._stream.name}:{line}: is no well-formed XML ({what}, column {column + 1}); export the log again"
        )

    def _refuse(self, why: str) -> NoReturn:
        raise InputError(f"{self._stream.name}:{self._parser.CurrentLineNumber}: {why}")

    def _entity(self, name: str, *_: object) -> NoReturn:
        self._refuse(f"declares the entity {name[:40]!r}, and a log needs none; remove its DOCTYPE")

    def _found_dtd(self) -> int:
        """The document refers to declarations elsewhere, which are not read: expat then skips undefined entities."""
        self._may_skip = True
        return 1

    def _undefined(self, *_: object) -> NoReturn:
        what = expat.errors.XML_ERROR_UNDEFINED_ENTITY
        raise self._malformed(what, self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber)

    def _check_tag(self) -> None:
        """Refuse undefined entities in attributes, of which expat does not tell."""
        raw = self._parser.GetInputContext() or b""
        encoding = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(raw[:2], "latin-1")
        found = _TAG.match(raw.decode(encoding, "replace"))
        if found and _ENTITY.search(found[0]):
            self._undefined()

    def _start(self, tag: str, attributes: Row) -> None:
        if self._may_skip and attributes:
            self._check_tag()
        name = tag.rpartition(":")[2]
        elements = self._elements
        if not elements and name != "log":
            self._refuse(f"begins with <{tag[:40]}>, and an XES log with <log>")
        if len(elements) >= _MAX_DEPTH:
            self._refuse(f"has more than {_MAX_DEPTH} elements within each other")
        elements.append(name)
        if name == "event":
            self._line = self._parser.CurrentLineNumber
            self._event = {}
        elif name == "trace":
            self._trace = {}
            self._seen.clear()
        elif name in _ATTRIBUTES and (self._event is not None or self._trace is not None):
            self._attribute(attributes)

    def _attribute(self, attributes: Row) -> None:
        keys = self._keys
        keys.append(attributes.get("key", ""))
        key = "/".join(keys) if len(keys) > 1 else keys[0]
        value = attributes.get("value")
        if value is None:
            return
        if self._event is not None:
            if key in self._wanted:
                self._event[key] = value
        elif self._trace is not None and f"case:{key}" in self._wanted:
            self._trace[f"case:{key}"] = value

    def _end(self, _tag: str) -> None:
        name = self._elements.pop()
        if name in _ATTRIBUTES:
            if self._keys:
                self._keys.pop()
        elif name == "event" and self._event is not None:
            self._rows.append((self._line, self._row(self._event)))
            self._event = None
        elif name == "trace":
            self._trace = None

    def _row(self, event: Row) -> Row:
        row = {**(self._trace or {}), **event}
        transition = event.get("lifecycle:transition", "").strip().lower() or COMPLETE
        row[TRANSITION] = transition
        if transition in self._transitions or len(self._transitions) < _TOLD:
            self._transitions[transition] = self._transitions.get(transition, 0) + 1
        row[ID] = event.get("identity:id") or self._id(row, transition)
        return row

    def _id(self, row: Row, transition: str) -> str:
        """An id of what the event says: the same in a later export of the log, wherever the event stands there."""
        parts = [row.get(key, "") for key in _IDENTITY[:-1]]
        time = row.get("time:timestamp", "")
        # The mapping reports a time that cannot be read.
        with suppress(ValueError, OverflowError, InputError):
            time = str(self._ms(time))
        content = "\0".join([*parts, transition, time]).encode("utf-8", "surrogatepass")
        digest = blake2b(content, digest_size=16)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        key = digest.digest()
        before = self._seen.get(key, 0)
        self._seen[key] = before + 1
        return f"{digest.hexdigest()}-{before}" if before else digest.hexdigest()

    def _tell_transitions(self, notes: Counter[str]) -> None:
        if self._whole and len(self._transitions) > 1:
            names = ", ".join(sorted(self._transitions))
            notes[SEVERAL.format(names)] += sum(self._transitions.values()) - self._transitions.get(
                COMPLETE, 0
            )
