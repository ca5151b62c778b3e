"""Records of cx.touchpoints that an operator wants to be passed over: `PARTITION:OFFSET` or `PARTITION:FIRST-LAST`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PATTERN = r"^\d{1,9}:\d{1,18}(-\d{1,18})?$"
_PARTS = re.compile(r"(\d+):(\d+)(?:-(\d+))?")


def parse(text: str) -> tuple[int, range]:
    """The partition and the offsets.

    Raises:
        ValueError: it is written otherwise, or the last offset comes before the first.
    """
    found = _PARTS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: write PARTITION:OFFSET or PARTITION:FIRST-LAST, for example 3:1274")
    first, last = int(found[2]), int(found[3] or found[2])
    if last < first:
        raise ValueError(f"{text!r}: the last offset comes before the first")
    return int(found[1]), range(first, last + 1)


def skips(asked: Iterable[str], partition: int) -> list[range]:
    """The offsets to be passed over in a partition, in order."""
    found = [offsets for number, offsets in map(parse, asked) if number == partition]
    return sorted(found, key=lambda offsets: (offsets.start, offsets.stop))
