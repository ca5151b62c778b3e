"""Who is held out: nobody acts on them, so that the effect of actions can be measured. One definition, for all lists and forms.

A customer is held out if an action or outcome of them says so, or the last churn-risk signal, or, where that is older than the
experiment, the experiment in force for their level. The last is drawn in SQL as `cxstream.model.experiments` draws it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from cxstream.console import in_force
from cxstream.model.experiments import by_level

if TYPE_CHECKING:
    from cxstream.console.page import Ask

# HMAC (RFC 2104): the block of SHA-256, in bytes, and what its key is mixed with.
_BLOCK, _INNER, _OUTER = 64, 0x36, 0x5C
_POSITION = "('0x' || left(sha256(outer_key || unhex(sha256(inner_key || encode(customer)))), 13))::UBIGINT / 4503599627370496.0"
HELD = f"""held AS (
    SELECT customer_id, customer FROM those
    LEFT JOIN (
        SELECT customer_id, arg_max_null(arm, {{'time': time, 'partition': "partition", 'offset': "offset", 'n': n}}) AS arm
        FROM risk_signals WHERE customer_id IN (SELECT customer_id FROM those) GROUP BY customer_id
    ) USING (customer_id)
    LEFT JOIN (
        SELECT unnest(
            $experiments::STRUCT(level VARCHAR, inner_key BLOB, outer_key BLOB, share DOUBLE)[], recursive := true
        )
    ) USING (level)
    WHERE coalesce(arm = 'holdout', {_POSITION} < share, false) OR customer_id IN (
        SELECT customer_id FROM touchpoints WHERE arm = 'holdout' AND kind IN ('action_taken', 'won_back', 'churned')
    )
)"""
"""SQL of a relation: who is held out of the relation `those` (customer_id, customer, level as it was last told)."""


async def values(ask: Ask) -> dict[str, Any]:
    """The parameters of `HELD`."""
    experiments = by_level(await in_force.experiments(ask))
    drawn = [
        {"level": level, **_keys(each.salt or name), "share": each.holdout}
        for level, (name, each) in experiments.items()
    ]
    return {"experiments": drawn}


def _keys(salt: str) -> dict[str, bytes]:
    key = salt.encode()
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return {
        "inner_key": bytes(each ^ _INNER for each in block),
        "outer_key": bytes(each ^ _OUTER for each in block),
    }
