"""Track, page, screen and identify records, as Segment defined them and RudderStack, Jitsu and many sites emit.

`segment.toml`, beside this file, is the table of what each record means. A user's own mapping goes before it,
for the events that only his site has. Records of visitors without a customer id go before both: they can be
nobody's touchpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cxstream.convert.mapping import Input, Mapping, Skip, Test, load
from cxstream.convert.rules import drafts as apply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxstream.convert.drafts import Draft
    from cxstream.convert.report import Report

BUILT_IN = Path(__file__).with_name("segment.toml")
ANONYMOUS = "no customer id: a visitor who is not known yet"


def drafts(
    paths: Sequence[Path], report: Report, *, mapping: Path | None = None, source: str | None = None
) -> Iterator[Draft]:
    """The touchpoints of Segment-style NDJSON files, in the order of the input.

    Args:
        paths: the files.
        report: counts records, and hears of problems and of track events that nothing takes.
        mapping: a mapping file whose events and skips come before the built-in ones; it may leave id, source,
            subject, time and channel to them.
        source: CloudEvents source of the built-in events; `segment` by default.

    Raises:
        InputError: a file or the mapping cannot be read.
    """
    table = load(BUILT_IN)
    if source is not None:
        table = msgspec.structs.replace(
            table, defaults=msgspec.structs.replace(table.defaults, source=source)
        )
    unknown = Mapping(input=Input(format="ndjson"), skip=[Skip({"userId": Test(present=False)}, ANONYMOUS)])
    own = [load(mapping, defaults=table.defaults)] if mapping is not None else []
    return apply(paths, [unknown, *own, table], report)
