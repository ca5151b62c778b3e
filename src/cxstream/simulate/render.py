"""Rows become CloudEvents in JSON, a block at a time; those that are to be broken get broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.enumerations import CHANNELS
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.simulate.faults import INVALID, MALFORMED
from cxstream.simulate.templates import TEMPLATES, Columns, columns, table
from cxstream.simulate.world import SEGMENTS

if TYPE_CHECKING:
    from cxstream.simulate.people import People
    from cxstream.simulate.rows import Ints, Rows

_SOURCES = table(
    [
        "/web/shop",
        "/app/mobile",
        "/contact-centre/voice",
        "/contact-centre/chat",
        "/mail",
        "/store/desk",
        "/social/listening",
        "/crm",
    ]
)
_CHANNELS = table(CHANNELS)
_HMS = table([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(86_400)])
_CUT = 3  # how many parts of a malformed record are left of its bytes: one in so many


class Renderer:
    """Renders rows of one population.

    Args:
        people: the population.
        subjects: their ids, by index.
    """

    def __init__(self, people: People, subjects: list[bytes]) -> None:
        self._subjects = table(subjects)
        self._segments = table([s.name for s in SEGMENTS])[people.segment]

    def render(self, part: Rows) -> list[bytes]:
        """Return one JSON record a row, in the order of the rows; broken ones are broken."""
        out = np.empty(len(part), object)
        for code in np.unique(part["kind"]).tolist():
            at = np.flatnonzero(part["kind"] == code)
            of = part[at]
            filling = [*self._head(of), *columns(Kind(code), of), self._segments[of["cust"]].tolist()]
            template = TEMPLATES[Kind(code)]
            out[at] = table([template % row for row in zip(*filling, strict=True)])
        for index in np.flatnonzero(part["fault"] == MALFORMED).tolist():
            out[index] = malform(out[index], int(part["seq"][index]))
        for index in np.flatnonzero(part["fault"] == INVALID).tolist():
            out[index] = invalidate(out[index], int(part["seq"][index]))
        rendered: list[bytes] = out.tolist()
        return rendered

    def _head(self, part: Rows) -> Columns:
        t: Ints = part["t"]
        days, which = np.unique(t // DAY_MS, return_inverse=True)
        dates = table([f"{np.datetime64(int(d), 'D')}T" for d in days.tolist()])
        channel = part["channel"]
        return [
            part["seq"].tolist(),
            _SOURCES[channel].tolist(),
            self._subjects[part["cust"]].tolist(),
            dates[which].tolist(),
            _HMS[t % DAY_MS // 1000].tolist(),
            (t % 1000).tolist(),
            _CHANNELS[channel].tolist(),
        ]


def malform(record: bytes, pick: int) -> bytes:
    """Return what is left of a record when its sender or its road breaks it: no JSON object."""
    ways = (
        lambda: record[: len(record) // _CUT],
        lambda: b"[" + record + b"]",
        lambda: b"\xff\xfe" + record,
        lambda: record + record,
        lambda: b"<html><body>502 Bad Gateway</body></html>",
    )
    return ways[pick % len(ways)]()


def invalidate(record: bytes, pick: int) -> bytes:
    """Return a record that is an object but violates the contract."""
    old, new = (
        (b'"specversion":"1.0"', b'"specversion":"0.3"'),
        (b'"type":"cx.touchpoint.', b'"type":"cx.unheard_of.'),
        (b'"data":{"channel":', b'"data":{"chanel":'),
        (b'Z","data":', b'","data":'),
        (b'"subject":"', b'"subject":"","was":"'),
        (b'"data":{"channel":"', b'"data":{"channel":"fax '),
        (b'"data":{', b'"data":{"comments":-1,'),
    )[pick % 7]
    return record.replace(old, new, 1)
