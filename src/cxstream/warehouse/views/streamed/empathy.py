"""What the view `empathy` shows: items, how often they occur, and with how many customers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from cxstream.kernels.empathy import BAND, BANDS, BITS, CELL, ITEM, count_items, count_texts
from cxstream.warehouse.views.streamed.slices import Blocks, Kept, divided, tables

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.streamed.plan import Plan
    from cxstream.warehouse.views.streamed.slices import Divided

    Records = NDArray[np.void]

MOST_PLACES = 1
NAMES = ("items",)
_TEXTS = {"said": "says", "thought": "thinks", "cause": "thinks"}
# Kinds that have texts at all.
TEXT_KINDS = (
    "contact", "complaint_opened", "survey_nps", "survey_csat", "survey_ces", "review", "social_post", "search",
    "search_no_result", "return", "unsubscribed", "churned",
)  # fmt: skip
_MOST_ITEMS = 16 * BITS
# Tones of words, by their numbers; 0 is none.
_TONES = ("positive", "negative", "neutral")
_KEY = "hash(kind, channel, touchpoint)"
# A key of 64 bits costs a third of three lists of names; what it stands for is known from the aggregates.
_ROWS = f"""SELECT customer_id, time, 1::SMALLINT AS place, {_KEY} AS key,
    CASE WHEN sentiment > 0.05 THEN 1 WHEN sentiment < -0.05 THEN 2 WHEN sentiment IS NULL THEN 0 ELSE 3 END::TINYINT AS kind,
    effort, mood, satisfaction_after, 0::FLOAT AS unused
FROM {{selected}}"""
_WORDS = (
    f"""SELECT customer_id, time, 1::SMALLINT AS place, {", ".join(_TEXTS)}, effort, mood FROM described"""
)
_OWN = re.compile(r"(kind NOT IN \([^)]*\)) AS is_own")


class _Items:
    """Numbers of items, which are known by quadrant and text."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}

    def number(self, quadrant: str, text: str) -> int:
        return self.numbers.setdefault((quadrant, text), len(self.numbers))

    def of(self, quadrant: str, texts: pa.ChunkedArray) -> NDArray[np.int32]:
        """The number of each text; -1 where there is none."""
        found = texts.combine_chunks().dictionary_encode()
        numbers = [self.number(quadrant, text) for text in found.dictionary.to_pylist()]
        numbers_with_none = np.array([*numbers, -1], np.int32)
        chosen: NDArray[np.int32] = numbers_with_none[
            found.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        ]
        return chosen


def touchpoints(_: View) -> str:
    """The SQL of the touchpoints, with placeholders."""
    return _ROWS


def words(view: View) -> str:
    """The SQL of the touchpoints with words, with placeholders: the first relation of the view describes them."""
    described = view.rows.partition(",\npart AS (")[0]
    some = f"(FROM {{selected}} WHERE list_contains({list(TEXT_KINDS)}, kind))"
    return described.replace("{selected}", some) + "\n" + _WORDS


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table] | None:
    """The relation `NAMES`; None where there are too many items."""
    items = _Items()
    known = _known(cursor, items, plan.own)
    # Also before the rows are read: there may be no end of places.
    if known is None or len(items.numbers) > _MOST_ITEMS:
        return None
    seen = np.zeros((plan.blocks.room, (len(items.numbers) - 1) // BITS + 1), np.uint64)
    parts = range(plan.threads)
    counted = [np.zeros(_MOST_ITEMS, ITEM) for _ in parts]
    kept = Kept()
    with ThreadPoolExecutor(len(parts)) as pool:
        for table in tables(cursor, plan.asked):
            found = divided(pool, table, plan.blocks, kept, "key")
            if not all(pool.map(partial(_count, found, plan.blocks, known, seen, counted), parts)):
                return None
    for table in tables(cursor, plan.words):
        texts = [items.of(quadrant, table.column(name)) for name, quadrant in _TEXTS.items()]
        if len(items.numbers) > _MOST_ITEMS:
            return None
        seen = _wide(seen, len(items.numbers))
        efforts, moods = (table.column(name).to_numpy() for name in ("effort", "mood"))
        customers = plan.blocks.numbers(table.column("customer_id").to_numpy())
        for each in texts:
            count_texts(customers, efforts, moods, each, seen, counted[0])
    return {
        "items": _table(
            items, {name: np.sum([one[name] for one in counted], axis=0) for name in ITEM.names or ()}
        )
    }


class _Known(NamedTuple):
    """The items that rows have by their codes.

    Attributes:
        cells: CELL, a table by key.
        bands: int32, items by band of satisfaction.
        tones: int32, items by tone.
    """

    cells: Records
    bands: NDArray[np.int32]
    tones: NDArray[np.int32]


def _count(
    found: Divided, blocks: Blocks, known: _Known, seen: NDArray[np.uint64], counted: list[Records], part: int
) -> bool:
    mine = found.part(blocks.ends(len(counted)), part)
    return bool(count_items(found.rows[mine], found.values[mine], *known, seen, counted[part]))


def own(view: View) -> str:
    """The condition of what customers do themselves, as the view has it."""
    found = _OWN.search(view.rows)
    return found[1] if found else "true"


def _known(cursor: duckdb.DuckDBPyConnection, items: _Items, is_own: str) -> _Known | None:
    """The items that rows have by their codes; None if one key stands for two cells."""
    sql = f"SELECT DISTINCT kind, channel, touchpoint, {is_own}, {_KEY} FROM daily ORDER BY ALL"
    found = cursor.execute(sql).fetchall()
    if len({row[-1] for row in found}) < len(found):
        return None
    cells = np.zeros(1 << (4 * len(found) + 1).bit_length(), CELL)
    for kind, channel, touchpoint, has_done, key in found:
        place = f"{kind} at {touchpoint}" if touchpoint else f"{kind} on {channel}"
        at = key % len(cells)
        while cells[at]["is_there"]:
            at = (at + 1) % len(cells)
        does = items.number("does", f"{kind} on {channel}") if has_done else -1
        signed = np.uint64(key).astype(np.int64)
        cells[at] = signed, does, items.number("pains", place), items.number("gains", place), 1
    bands = [items.number("feels", f"satisfaction {BAND * i}-{BAND * (i + 1)}") for i in range(BANDS)]
    tones = [-1, *(items.number("feels", f"{tone} words") for tone in _TONES)]
    return _Known(cells, np.array(bands, np.int32), np.array(tones, np.int32))


def _wide(seen: NDArray[np.uint64], items: int) -> NDArray[np.uint64]:
    """Sets of items for each customer with so many bits; slices bring new items."""
    many = (items - 1) // BITS + 1
    if seen.shape[1] >= many:
        return seen
    wider = np.zeros((len(seen), many), np.uint64)
    wider[:, : seen.shape[1]] = seen
    return wider


def _table(items: _Items, total: dict[str, NDArray[np.int64]]) -> pa.Table:
    (there,) = np.nonzero(total["count"])
    known = [*items.numbers]
    quadrants, texts = zip(*(known[number] for number in there), strict=True) if len(there) else ((), ())
    return pa.table(
        {
            "quadrant": pa.array(quadrants, pa.string()),
            "item": pa.array(texts, pa.string()),
            **{name: pa.array(sums[there]) for name, sums in total.items()},
        }
    )
