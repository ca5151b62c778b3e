"""Saved states of each layout, which the code of their time wrote; see `tests/golden/README.md`.

    python tests/golden_states.py --write

writes that of the present layout.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cxstream.kernels.layout import LAYOUT
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import ACTIONS
from default_1 import DEFAULT_1, default_1

if TYPE_CHECKING:
    from cxstream.model.parameters import ScoringParams
    from saved import Rows

GOLDEN = Path(__file__).with_name("golden")
# The first record behind the saved state, and the one that is passed over in layouts that know of it.
CUT, PASSED_OVER = 513, 503
# From this layout on, some page views are of a kind of the company's own, which the settings then name.
OWN_SINCE = 4
_OWN_AT = (0, 8, 12, 17, 19, 21)
_PLAIN = DEFAULT_1
_WITH_OWN = default_1(kinds={"parcel_lost": {"effort": 1.5}})


def params_of(layout: int) -> ScoringParams:
    """The settings that the state of a layout was made with, and goes on with."""
    return _WITH_OWN if layout >= OWN_SINCE else _PLAIN


def records(layout: int) -> list[bytes]:
    """The records of the state of a layout, and those that come after them."""
    lines = (GOLDEN / "events.ndjson").read_bytes().splitlines()
    for i in _OWN_AT if layout >= OWN_SINCE else ():
        lines[i] = lines[i].replace(b".page_view.", b".parcel_lost.")
    return lines


def path_of(layout: int) -> Path:
    """The file of a layout."""
    return GOLDEN / f"layout-{layout}.json"


def load(layout: int) -> Rows:
    """The stored rows of a layout, the marker included."""
    rows = json.loads(path_of(layout).read_text())["rows"]
    return {bytes.fromhex(key): base64.b64decode(row) for key, row in rows.items()}


def replayed(layout: int, *, passed: bool) -> Engine:
    """The state at CUT, from the beginning, for the saved state of a layout."""
    engine, lines = Engine(params_of(layout), ACTIONS), records(layout)
    if passed:
        engine.process(Records(lines[:PASSED_OVER], range(PASSED_OVER)))
        engine.pass_over(PASSED_OVER, "skipped")
    begin = engine.next_offset
    engine.process(Records(lines[begin:CUT], range(begin, CUT)))
    return engine


def write() -> None:
    """Write the state of the present layout."""
    rows = {key: row for key, row in replayed(LAYOUT, passed=True).snapshot() if row is not None}
    packed = {key.hex(): base64.b64encode(row).decode() for key, row in sorted(rows.items())}
    path_of(LAYOUT).write_text(json.dumps({"rows": packed}, indent=0) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    write()
