"""Sentiments for the touchpoints of a batch that have a text and none, by the text model that the rules name."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cxstream.kernels.layout import EVENT, HAS_VALUE
from cxstream.kernels.unread import Members, choose, put
from cxstream.model.errors import InstallationError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import TextModelParams
from cxstream.model.text import DIGESTS, MODEL, READ
from cxstream.scoring.codec.plain import NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.scoring.codec.plain import Plain
    from cxstream.text.model import TextModel

# By the number of a kind: whether its text is read, and whether its sentiment counts for the scores.
_READ, _COUNTS = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
_READ[list(READ)] = True
_COUNTS[[kind for kind in Kind if kind.spec.fills == "sentiment"]] = True
_NAMED = Members(*(NUMBER[name] for name in Members._fields))
_KIND_AT = dict(EVENT.fields or {})["kind"][1]
# Sets of languages; all partitions share a model.
_KEPT = 4
# A model has room to work in for one batch at a time.
_reading = Lock()


@lru_cache(_KEPT)
def _loaded(named: TextModelParams) -> TextModel:
    # Most rules name no model, and its weights and kernels take time and memory.
    from cxstream.text.model import TextModel

    model = TextModel(named.name, named.languages)
    if model.digest != named.digest:
        raise InstallationError(
            f"the weights of the text model {named.name} are damaged (digest {model.digest}, not {named.digest}): "
            "install cxstream again"
        )
    return model


def text_model(named: TextModelParams | None) -> TextModel | None:
    """The text model that rules name; None where they name none.

    Raises:
        InstallationError: its weights are not those that were released.
    """
    return None if named is None else _loaded(named)


def warm_up() -> None:
    """Compile the kernels of the text model, or load them from the cache."""
    named = TextModelParams(name=MODEL, digest=DIGESTS[MODEL])
    with _reading:
        # One or two words are looked up, too.
        some, model = ["good", "dobrze", "to jest bardzo dobre, dziękuję", ""], _loaded(named)
        model.sentiments(some)
        model.in_python(some, [None] * len(some))
    cells, flags, members = (
        np.zeros((0, EVENT.itemsize), np.uint8),
        np.zeros(0, np.bool_),
        np.zeros(0, np.uint64),
    )
    rows, spans = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    choose(
        cells,
        _KIND_AT,
        flags,
        members,
        np.zeros((0, 1, 2), np.int64),
        flags,
        _READ,
        _NAMED,
        rows,
        spans,
        spans,
    )
    put(members, np.zeros((0, 1)), _NAMED, rows, np.zeros(0))


class _Said(msgspec.Struct, gc=False):
    text: str | None = None
    lang: str | None = None


class _Record(msgspec.Struct, gc=False):
    data: _Said


_read = msgspec.json.Decoder(_Record).decode


def plain_sentiments(raws: Sequence[bytes | None], plain: Plain, model: TextModel) -> dict[int, float]:
    """Give a sentiment to the plain records that have a text and none; where the model abstains, they stay without.

    Args:
        raws: the records.
        plain: what the kernel read, with fields; its columns and numbers are changed.
        model: the text model in force.

    Returns:
        The sentiments by record.
    """
    columns, fields = plain.columns, plain.fields
    assert fields is not None  # noqa: S101  # the caller has asked for them
    n = len(columns)
    rows, spans, tags = np.empty(n, np.int64), np.empty((n, 2), np.int64), np.empty((n, 2), np.int64)
    cells = columns.view(np.uint8).reshape(n, EVENT.itemsize)
    found, escaped = choose(
        cells,
        _KIND_AT,
        plain.known,
        fields.members,
        fields.spans,
        fields.whole,
        _READ,
        _NAMED,
        rows,
        spans,
        tags,
    )
    if not found + escaped:
        return {}
    with _reading:
        scores = model.read(fields.text, spans[:found], tags[:found])
        if escaped:
            # Where there is an escape, the text is not what lies in the record.
            said = [_read(raws[i]).data for i in rows[n - escaped :].tolist()]
            read = model.sentiments([data.text or "" for data in said], [data.lang for data in said])
            scores = np.append(scores, np.array(read, np.float64))
            rows[found : found + escaped] = rows[n - escaped :].copy()
    known = put(fields.members, fields.numbers, _NAMED, rows[: len(scores)], scores)
    rows, scores = rows[:known], scores[:known]
    counts = _COUNTS[columns["kind"][rows]]
    columns["a"][rows[counts]], columns["flags"][rows[counts]] = scores[counts], HAS_VALUE
    return dict(zip(rows.tolist(), scores.tolist(), strict=True))


def fill_sentiments(events: Sequence[Any], model: TextModel) -> None:
    """Give a sentiment to the events that have a text and none; where the model abstains, they stay without.

    Args:
        events: valid events; they are changed.
        model: the text model in force.
    """
    some = [
        event.data
        for event in events
        if event.KIND in READ and event.data.sentiment is None and event.data.text
    ]
    if not some:
        return
    with _reading:
        found = model.sentiments([data.text for data in some], [data.lang for data in some])
    for data, sentiment in zip(some, found, strict=True):
        data.sentiment = sentiment
