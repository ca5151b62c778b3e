"""Customers who have left: they churned and were not won back. Nobody has to be called who is no customer any more."""

from __future__ import annotations

AWAY = """(
    SELECT customer_id, kind = 'churned' AS is_away, time AS since,
        lead(time) OVER (PARTITION BY customer_id ORDER BY time, "partition", "offset") AS until
    FROM touchpoints WHERE kind IN ('churned', 'won_back')
)"""
"""SQL of a relation: the times since which customers have been away or back, and until when (NULL: still)."""

STAYS = f"customer_id NOT IN (SELECT customer_id FROM {AWAY} WHERE is_away AND until IS NULL)"
"""SQL of a condition: the customer is not away at the end of the data."""
