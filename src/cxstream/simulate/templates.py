"""What an event of each kind looks like: a template, and the columns that fill it.

A template is bytes with `%b` and `%d` in it; the columns come out of tables by index, so that no object is
built for an event but its own bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxstream.model.kinds import Kind
from cxstream.simulate import phrases
from cxstream.simulate.rows import RESOLVED, Rows
from cxstream.simulate.world import LOCATIONS, TOPICS, WEB_PLACES

Columns = list[list[Any]]
Objects = npt.NDArray[np.object_]


def table(entries: Sequence[str | bytes]) -> Objects:
    """Make an array of bytes that an array of indices can pick from."""
    made = np.empty(len(entries), object)
    made[:] = [entry.encode() if isinstance(entry, str) else entry for entry in entries]
    return made


_TOPICS = table([f',"topic":"{topic}"' if topic else "" for topic in TOPICS])
_PLACES = table(WEB_PLACES)
_HOMES = table(LOCATIONS)
_OUTCOMES = table(["", ',"resolved":true', ',"resolved":false', ',"abandoned":true'])


def _pick(table: Objects, index: npt.NDArray[Any]) -> list[Any]:
    return table[index].tolist()  # type: ignore[no-any-return]


def _ints(part: Rows, *names: str) -> Columns:
    return [part[name].tolist() for name in names]


def _place(part: Rows) -> list[Any]:
    return _pick(_PLACES, part["place"] % len(_PLACES))


def _page(part: Rows) -> Columns:
    return [_place(part), part["ref"].tolist(), (part["x"].astype(np.int64) % 480).tolist()]


def _click(part: Rows) -> Columns:
    at = [b',"x":%d,"y":%d' % xy if xy[0] % 3 else b"" for xy in zip(*_ints(part, "x", "y"), strict=True)]
    return [_place(part), part["ref"].tolist(), at]


def _failed(part: Rows) -> Columns:
    return [_place(part), part["ref"].tolist(), _TOPICS[part["topic"]].tolist(), part["y"].tolist()]


def _money(part: Rows) -> Columns:
    cents = part["cents"]
    return [(cents // 100).tolist(), (cents % 100).tolist(), part["ref"].tolist()]


def _cart(part: Rows) -> Columns:
    return [part["ref"].tolist(), *_money(part)[:2]]


def _contact(part: Rows) -> Columns:
    wait = [b"" if w < 0 else b',"wait_s":%d' % w for w in part["wait"].tolist()]
    moved = [b',"transfers":%d' % n if n else b"" for n in part["transfers"].tolist()]
    return [
        part["ref"].tolist(),
        _TOPICS[part["topic"]].tolist(),
        wait,
        part["handle"].tolist(),
        moved,
        _OUTCOMES[part["outcome"]].tolist(),
    ]


def _home(part: Rows) -> list[Any]:
    return _pick(_HOMES, part["place"] % len(_HOMES))


def _answer(part: Rows) -> Columns:
    return [_TOPICS[part["topic"]].tolist(), part["score"].tolist()]


def _rated(part: Rows) -> Columns:
    rating = part["score"].astype(np.int64)
    return [part["ref"].tolist(), rating.tolist(), _spoken(phrases.REVIEWS, (rating - 1) / 4, part["ref"])]


def _posted(part: Rows) -> Columns:
    hundredths = part["score"].astype(np.int64)
    said = _spoken(phrases.POSTS, (hundredths + 100) / 200, part["x"] + part["y"])
    sentiment = [b"%.2f" % (value / 100) for value in hundredths.tolist()]
    return [said, sentiment, *_ints(part, "x", "y")]


def _spoken(
    by_mood: Sequence[Sequence[str]], mood: npt.NDArray[np.float64], pick: npt.NDArray[Any]
) -> list[bytes]:
    """Take words for each mood, 0..1."""
    bucket = np.clip((mood * len(by_mood)).astype(np.int64), 0, len(by_mood) - 1).tolist()
    return [by_mood[b][p % len(by_mood[b])].encode() for b, p in zip(bucket, pick.tolist(), strict=True)]


def _acted(part: Rows) -> Columns:
    treated = part["outcome"] == RESOLVED
    return [table(["holdout", "treated"])[treated.astype(np.int64)].tolist()]


_STEP = '"touchpoint":"%b","stage":"consideration","session":"s-%x"'
_TROUBLE = '"touchpoint":"%b","stage":"purchase","session":"s-%x"%b,"target":"#step-%d"'
_MONEY = '"amount":%d.%02d,"currency":"EUR","order_id":"o-%07d"'
_CASE = '"touchpoint":"complaints desk","stage":"service","case_id":"case-%06d"%b,"reason":"not solved after several contacts"'
_CAMPAIGN = '"touchpoint":"newsletter","stage":"loyalty","campaign":"week-%03d","product":"season offer"'
_SURVEY = '"touchpoint":"survey after contact","stage":"service"%b,"score":%d'

Filler = Callable[[Rows], Columns]

# What `data` of each kind holds besides the channel, and where its columns come from.
_DATA: dict[Kind, tuple[str, Filler]] = {
    Kind.page_view: (_STEP + ',"product":"p-%04d"', _page),
    Kind.search: (_STEP + ',"target":"query %d"', _page),
    Kind.click: (_STEP + '%b,"target":"a.card"', _click),
    Kind.app_open: (_STEP + ',"target":"tile-%d"', _page),
    Kind.store_visit: (
        '"touchpoint":"shop floor","stage":"consideration","location":"%b"',
        lambda p: [_home(p)],
    ),
    Kind.email_sent: (
        '"touchpoint":"order confirmation","stage":"purchase","order_id":"o-%07d"',
        lambda p: _ints(p, "ref"),
    ),
    # What a message costs stands where the contract has it: in the amount of what was sent.
    Kind.campaign_sent: (_CAMPAIGN + ',"amount":0.12,"currency":"EUR"', lambda p: _ints(p, "ref")),
    **dict.fromkeys(
        (Kind.campaign_opened, Kind.campaign_clicked),
        (_CAMPAIGN, lambda p: _ints(p, "ref")),
    ),
    **dict.fromkeys(
        (
            Kind.search_no_result,
            Kind.rage_click,
            Kind.dead_click,
            Kind.error,
            Kind.app_crash,
            Kind.login_failed,
            Kind.form_abandoned,
        ),
        (_TROUBLE, _failed),
    ),
    Kind.cart_abandoned: (
        '"touchpoint":"basket","stage":"purchase","session":"s-%x","amount":%d.%02d,"currency":"EUR"',
        _cart,
    ),
    Kind.contact: (
        '"touchpoint":"service desk","stage":"service","agent":"agent-%03d"%b%b,"handle_s":%d%b%b',
        _contact,
    ),
    Kind.queue: (
        '"touchpoint":"checkout","stage":"purchase","location":"%b","wait_s":%d',
        lambda p: [_home(p), *_ints(p, "wait")],
    ),
    Kind.purchase: ('"touchpoint":"checkout","stage":"purchase",' + _MONEY, _money),
    Kind.return_: (
        '"touchpoint":"returns desk","stage":"service","reason":"not as described",' + _MONEY,
        _money,
    ),
    Kind.delivery: (
        '"touchpoint":"doorstep","stage":"purchase","order_id":"o-%07d","late_days":%d',
        lambda p: _ints(p, "ref", "late_days"),
    ),
    Kind.complaint_opened: (_CASE, lambda p: [p["ref"].tolist(), _TOPICS[p["topic"]].tolist()]),
    Kind.complaint_resolved: (_CASE, lambda p: [p["ref"].tolist(), _TOPICS[p["topic"]].tolist()]),
    Kind.loyalty_joined: (
        '"touchpoint":"programme","stage":"loyalty","order_id":"o-%07d"',
        lambda p: _ints(p, "ref"),
    ),
    Kind.loyalty_redeemed: (
        '"touchpoint":"programme","stage":"loyalty","order_id":"o-%07d"',
        lambda p: _ints(p, "ref"),
    ),
    Kind.discount_used: (
        '"touchpoint":"checkout","stage":"purchase","order_id":"o-%07d"',
        lambda p: _ints(p, "ref"),
    ),
    Kind.referral: (
        '"touchpoint":"invite a friend","stage":"loyalty","order_id":"o-%07d"',
        lambda p: _ints(p, "ref"),
    ),
    Kind.unsubscribed: (
        '"touchpoint":"newsletter","stage":"loyalty","reason":"link in the mail"',
        lambda _: [],
    ),
    Kind.survey_ces: (_SURVEY, _answer),
    Kind.survey_csat: (_SURVEY, _answer),
    Kind.survey_nps: ('"touchpoint":"quarterly survey","stage":"loyalty"%b,"score":%d', _answer),
    Kind.review: (
        '"touchpoint":"product page","stage":"loyalty","order_id":"o-%07d","rating":%d,"text":"%b","lang":"en"',
        _rated,
    ),
    Kind.social_post: (
        '"touchpoint":"timeline","text":"%b","lang":"en","sentiment":%b,"hashtags":["shop"],"likes":%d,"shares":%d',
        _posted,
    ),
    Kind.action_taken: (
        '"touchpoint":"retention desk","action":"call_back","arm":"%b"',
        _acted,
    ),
    Kind.churned: ('"touchpoint":"contract","reason":"cancelled"', lambda _: []),
    Kind.won_back: ('"touchpoint":"contract","reason":"came back"', lambda _: []),
}

_HEAD = '{"specversion":"1.0","id":"e-%08x","source":"%b","type":"TYPE","subject":"%b","time":"%b%b.%03dZ","data":{"channel":"%b",'
_TAIL = ',"segment":"%b"}}'
# A site that reports every step does not look up who the customer is.
_WITHOUT_SEGMENT = (Kind.page_view, Kind.search, Kind.click, Kind.app_open)


def _template(kind: Kind) -> bytes:
    tail = "%.0b}}" if kind in _WITHOUT_SEGMENT else _TAIL
    return (_HEAD.replace("TYPE", kind.type) + _DATA[kind][0] + tail).encode()


# Of the kinds that happen in a simulated life.
TEMPLATES = {kind: _template(kind) for kind in _DATA}


def columns(kind: Kind, part: Rows) -> Columns:
    """Return the columns of `data` for rows of one kind, in the order of its template."""
    return _DATA[kind][1](part)
