"""Steps from one layout of saved state to the next; a snapshot of an earlier layout walks all that follow.

To change the layout: raise LAYOUT in `cxstream.kernels.layout`, add the step that reads the layout before to STEPS, with
the id that it had, and keep a snapshot of it in `tests/golden`. A step works on bytes alone, with offsets written as
numbers: the types of `cxstream.kernels.layout` are those of the present layout.

Each step is a pure function of the rows, without generation and checksum. A damaged row may be too short; it is
refused when it is loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cxstream.model.features import FIRST_FEATURES

Rows = Mapping[bytes, bytes]
Params = Mapping[str, object]

# Before this one, layouts had no id, and an id of "" in the marker.
FIRST_WITH_ID = 4
# Before this one, the marker did not have the rules in force.
FIRST_WITH_RULES = 4
# Before this one, rows had neither generation nor checksum.
FIRST_SEALED = 3

_CUSTOMER = b"c"


class Step(NamedTuple):
    """From one layout to the next.

    Attributes:
        reads: number of the layout that it reads.
        layout_id: its id; "" where layouts had none.
        rows: its rows, as the next layout has them.
        params: the parameters of the next layout, as this one had them, for its digest.
    """

    reads: int
    layout_id: str
    rows: Callable[[Rows], dict[bytes, bytes]]
    params: Callable[[Params], dict[str, object]]


# --- 2 to 3: the last churn-risk signal of a customer, limits of points

# In a packed customer of both layouts: position of the last notified level, and what follows if there is one.
_NOTIFIED_AT = 1 + 114
_NOT_KNOWN = struct.pack("<qd", -(2**63), 0.0)
_WITHOUT_LAST_SIGNAL = 2

_NEW_IN_3 = frozenset(
    {"max_effort", "max_mood", "max_record_bytes", "transfers_max", "worsened", "worsened_hours"}
)
_MAX_POINTS = 1e6


def _with_last_signal(key: bytes, row: bytes) -> bytes:
    if not key.startswith(_CUSTOMER) or row[:1] != bytes((_WITHOUT_LAST_SIGNAL,)):
        return row
    notified = row[_NOTIFIED_AT : _NOTIFIED_AT + 1] > b"\0"
    return b"\3" + row[1:] + (_NOT_KNOWN if notified else b"")


def _rows_2(rows: Rows) -> dict[bytes, bytes]:
    return {key: _with_last_signal(key, row) for key, row in rows.items()}


def _params_2(params: Params) -> dict[str, object]:
    return {
        **{name: value for name, value in params.items() if name not in _NEW_IN_3},
        "max_points": _MAX_POINTS,
    }


# --- 3 to 4: the marker names the layout by its id, and no purchases are known


def _rows_3(rows: Rows) -> dict[bytes, bytes]:
    return {
        key: b"\4" + row[1:] if key.startswith(_CUSTOMER) and row[:1] == b"\3" else row
        for key, row in _rows_2(rows).items()
    }


_NEW_IN_4 = frozenset(
    {
        "base_currency", "rates", "name", "kinds", "effort_spread", "satisfaction_spread", "touch_weight",
        "churn_horizon_days", "slowdown_days", "slowdown_max", "just_unsubscribed_days", "unresolved_scale",
    }
)  # fmt: skip
# No state depends on them; who had not set them has other defaults now. Each with its default then, and now.
_OTHER_DEFAULTS: dict[str, tuple[object, object]] = {
    "answer_sd": (25.0, 27.0),
    "intercept": (-3.0, -5.48),
    "thresholds": ([0.35, 0.55, 0.75], [0.055, 0.16, 0.39]),
    "hysteresis": (0.05, 0.008),
    "worsened": (0.1, 0.015),
    "coefficients": (
        dict(zip(FIRST_FEATURES, (2.0, 1.5, 2.5, 1.0, 1.5, 1.5, 2.0, 0.7), strict=True)),
        dict(zip(FIRST_FEATURES, (1.73, 5.73, 2.69, 0.46, 0.0, 0.3, 0.0, 0.17), strict=True)),
    ),
    "typical": (
        {**dict.fromkeys(FIRST_FEATURES, 0.0), "effort": 0.2, "dissatisfaction": 0.3},
        {**dict.fromkeys(FIRST_FEATURES, 0.0), "effort": 0.18, "dissatisfaction": 0.26},
    ),
}


def _params_3(params: Params) -> dict[str, object]:
    old = {name: value for name, value in params.items() if name not in _NEW_IN_4}
    points = old["points"]
    if isinstance(points, dict):
        old["points"] = {kind: value for kind, value in points.items() if kind != "purchase_history"}
    for name in ("coefficients", "typical"):
        features = old[name]
        if isinstance(features, dict):
            old[name] = {feature: features[feature] for feature in FIRST_FEATURES}
    return old | {name: then for name, (then, now) in _OTHER_DEFAULTS.items() if old.get(name) == now}


STEPS = (
    Step(2, "", _rows_2, _params_2),
    Step(3, "", _rows_3, _params_3),
)


def known(layout: int, layout_id: str) -> bool:
    """Whether there are steps from this layout to the present one."""
    return any((step.reads, step.layout_id) == (layout, layout_id) for step in STEPS)


def migrate(rows: Rows, layout: int) -> Rows:
    """Rows of an earlier layout, as the present one has them; without the marker, generation and checksum."""
    for step in STEPS:
        if step.reads >= layout:
            rows = step.rows(rows)
    return rows


def params_of(params: Params, layout: int) -> Params:
    """The present parameters, as an earlier layout had them."""
    for step in reversed(STEPS):
        if step.reads >= layout:
            params = step.params(params)
    return params
