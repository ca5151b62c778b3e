"""The columns of cx.scored: accepted touchpoints with what they counted for.

A record of the topic is an Arrow IPC stream of these columns, one row an accepted touchpoint, in the order in which
they were scored. Columns are added at the end, and never change their meaning: readers look them up by name.
`cxstream.files.scored` has the Arrow schema.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

CONTENT_TYPE = "application/vnd.apache.arrow.stream"
# Headers of a record: its rows, and how far the partition's clock is after them, in ms UTC.
ROWS, CLOCK = "rows", "clock"
# In the metadata of the schema.
NAME, VERSION = "cxstream.scored", 1
# Bits of the column `flags`.
REPEAT_CONTACT, CHANNEL_SWITCH, RAGE_CLICK, LATE, FAILED = 1, 2, 4, 8, 16
FLAGS = {
    "repeat_contact": REPEAT_CONTACT,
    "channel_switch": CHANNEL_SWITCH,
    "rage_click": RAGE_CLICK,
    "late": LATE,
    "failed": FAILED,
}

Type = Literal["int32", "int64", "time", "text", "code", "codes", "float64", "float32", "bool", "uint8"]


class Column(NamedTuple):
    """One column.

    Attributes:
        name: as in the schema; a field of `data` has its name there.
        type: `time` is a timestamp in ms, UTC; `text` a string; `code` a string that repeats, dictionary-encoded;
            `codes` a list of such strings.
        holds: what it means, with its unit.
        data: whether it is a field of the event's `data`, and null where the event does not have it.
        optional: whether it may be null.
    """

    name: str
    type: Type
    holds: str
    data: bool = False
    optional: bool = False


def _data(name: str, type_: Type, holds: str) -> Column:
    return Column(name, type_, holds, data=True, optional=name != "channel")


COLUMNS = (
    Column("partition", "int32", "partition of cx.touchpoints"),
    Column(
        "offset", "int64", "offset of the touchpoint there; in a file, its ordinal in its partition, from 0"
    ),
    Column("time", "time", "event time"),
    Column("arrived", "time", "when Kafka appended the touchpoint; null in files", optional=True),
    Column("customer", "text", "customer id, or the pseudonym"),
    Column("kind", "code", "kind of touchpoint, own kinds by their name"),
    Column("source", "code", "system that sent it"),
    Column("id", "text", "id of the event; unique together with `source`"),
    _data("channel", "code", "where it happened"),
    _data("touchpoint", "code", "free name of the place"),
    _data("stage", "code", "stage of the journey"),
    _data("session", "text", "session of the site or app"),
    _data("campaign", "code", "campaign it belongs to"),
    _data("topic", "code", "what a contact or complaint is about"),
    _data("case_id", "text", "case of a complaint"),
    _data("agent", "code", "who answered"),
    _data("product", "code", "product it is about"),
    _data("location", "code", "shop or place"),
    _data("segment", "code", "segment of the customer"),
    _data("order_id", "text", "order it belongs to"),
    _data("currency", "code", "ISO 4217 code of `amount`"),
    _data("action", "code", "what the company did"),
    _data("arm", "code", "treated or holdout"),
    _data("action_id", "text", "signal that was acted on"),
    _data("reason", "code", "why, in the words of the source"),
    _data("lang", "code", "language of the text"),
    _data("hashtags", "codes", "hashtags of a post"),
    _data("wait_s", "float64", "waiting until served, in seconds"),
    _data("handle_s", "float64", "time being served, in seconds"),
    _data("transfers", "float64", "how often the customer was transferred"),
    _data("late_days", "float64", "days after the promised date; 0 is on time"),
    _data("score", "float64", "answer to a survey: CES 1..7, CSAT 1..5, NPS 0..10"),
    _data("rating", "float64", "stars of a review, 1..5"),
    _data("amount", "float64", "money, in `currency`"),
    _data("sentiment", "float64", "sentiment of the text, -1..1"),
    _data("likes", "float64", "likes of a post"),
    _data("shares", "float64", "shares of a post"),
    _data("comments", "float64", "comments on a post"),
    _data("resolved", "bool", "whether it was solved"),
    _data("abandoned", "bool", "whether the customer gave up waiting"),
    Column("effort", "float32", "effort points it added, derived ones included"),
    Column("mood", "float32", "mood points it added, derived ones included"),
    Column(
        "flags",
        "uint8",
        "bits: 1 repeat contact, 2 channel switch, 4 rage click, 8 late (of a day before the clock's), 16 a failed"
        " digital step",
    ),
    Column("effort_after", "float32", "the customer's effort after it, 0..100"),
    Column("satisfaction_after", "float32", "their satisfaction after it, 0..100"),
    Column("probability_after", "float32", "their churn risk after it, 0..1"),
    Column("level_after", "code", "their level after it: none, elevated, high, critical"),
    Column("model", "code", "rules that scored it: their name and a digest"),
    Column(
        "amount_base",
        "float64",
        "`amount` in the base currency, by the rates of the rules; null without an amount or a rate",
        optional=True,
    ),
    Column(
        "behind_ms",
        "int64",
        "how far the event time was behind the clock of its partition, in ms; 0 where it moved the clock",
    ),
)
