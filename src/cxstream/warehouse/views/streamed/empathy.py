"""What the view `empathy` shows: items, how often they occur, and with how many customers."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxstream.kernels.empathy import BAND, BANDS, BITS, ITEM, count_items
from cxstream.warehouse.views.streamed.slices import tables

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.streamed.plan import Plan

MOST_PLACES = 1
NAMES = ("items",)
_CODES = ("kind", "channel", "touchpoint")
_TEXTS = {"said": "says", "thought": "thinks", "cause": "thinks"}
# Numbers of items, and of combinations of kinds, channels and touchpoints.
_MOST_ITEMS, _MOST_CELLS = 16 * BITS, 1 << 22
_NUMBERS = ("customer_id", *_CODES, "is_own", "satisfaction_after", "sentiment", "effort", "mood")
_ROWS = f"""SELECT customer_id, time, 1::SMALLINT AS place, is_own,
    {", ".join(f"coalesce(list_position(${name}s::VARCHAR[], {name}), 0)::SMALLINT AS {name}" for name in _CODES)},
    {", ".join(_TEXTS)}, satisfaction_after, sentiment, effort, mood
FROM described"""


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


def touchpoints(view: View) -> str:
    """The SQL of the touchpoints, with placeholders: the first relation of the view describes them."""
    return view.rows.partition(",\npart AS (")[0] + "\n" + _ROWS


def follow(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, pa.Table] | None:
    """The relation `NAMES`; None where there are too many items."""
    found = cursor.execute(f"SELECT DISTINCT {', '.join(_CODES)} FROM daily ORDER BY ALL").fetchall()
    names = {name: sorted({row[i] for row in found} - {None}) for i, name in enumerate(_CODES)}
    if math.prod(len(one) + 1 for one in names.values()) > _MOST_CELLS:
        return None
    items = _Items()
    known = _known(items, names, found)
    if len(items.numbers) > _MOST_ITEMS:
        # Also before the rows are read: their codes have 16 bits.
        return None
    asked = plan.asked._replace(values=plan.asked.values | {f"{name}s": names[name] for name in _CODES})
    seen, parts = np.zeros((0, 0), np.uint64), range(plan.threads)
    counted = [np.zeros(_MOST_ITEMS, ITEM) for _ in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        for table in tables(cursor, asked):
            texts = [items.of(quadrant, table.column(name)) for name, quadrant in _TEXTS.items()]
            if len(items.numbers) > _MOST_ITEMS:
                return None
            seen = _wide(seen, plan.highest, len(items.numbers))
            columns = [table.column(name).to_numpy() for name in _NUMBERS]
            count = partial(_count, (*columns, *texts, *known), seen, counted)
            list(pool.map(count, parts))
    return {
        "items": _table(
            items, {name: np.sum([one[name] for one in counted], axis=0) for name in ITEM.names or ()}
        )
    }


def _count(
    columns: tuple[NDArray[Any], ...], seen: NDArray[np.uint64], counted: list[NDArray[np.void]], part: int
) -> None:
    count_items(part, len(counted), seen, counted[part], *columns)


def _known(
    items: _Items, names: dict[str, list[str]], found: list[tuple[Any, ...]]
) -> tuple[NDArray[np.int32], ...]:
    """The items that rows have by their codes: of does, pains and gains, of bands of satisfaction, and of tones."""
    codes = {name: {None: 0} | {text: i + 1 for i, text in enumerate(names[name])} for name in _CODES}
    does, pains, gains = (np.full([len(one) for one in codes.values()], -1, np.int32) for _ in range(3))
    for kind, channel, touchpoint in found:
        cell = codes["kind"][kind], codes["channel"][channel], codes["touchpoint"][touchpoint]
        does[cell] = items.number("does", f"{kind} on {channel}")
        place = f"{kind} at {touchpoint}" if touchpoint else f"{kind} on {channel}"
        pains[cell], gains[cell] = items.number("pains", place), items.number("gains", place)
    bands = [items.number("feels", f"satisfaction {BAND * i}-{BAND * (i + 1)}") for i in range(BANDS)]
    tones = [items.number("feels", f"{tone} words") for tone in ("positive", "negative", "neutral")]
    return does, pains, gains, np.array(bands, np.int32), np.array(tones, np.int32)


def _wide(seen: NDArray[np.uint64], highest: int, items: int) -> NDArray[np.uint64]:
    """Sets of items for each customer with so many bits; slices bring new items."""
    words = (items - 1) // BITS + 1
    if seen.shape[1] >= words:
        return seen
    wider = np.zeros((highest + 1, words), np.uint64)
    wider[: len(seen), : seen.shape[1]] = seen
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
