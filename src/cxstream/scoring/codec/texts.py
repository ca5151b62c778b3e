"""Sentiments for the touchpoints of a batch that have a text and none, by the text model that the rules name."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cxstream.kernels.layout import HAS_VALUE
from cxstream.model.errors import InstallationError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import TextModelParams
from cxstream.model.text import DIGESTS, MODEL, READ
from cxstream.scoring.codec.plain import NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.codec.plain import Fields, Plain
    from cxstream.text.model import TextModel

# By the number of a kind: whether its text is read, and whether its sentiment counts for the scores.
_READ, _COUNTS = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
_READ[list(READ)] = True
_COUNTS[[kind for kind in Kind if kind.spec.fills == "sentiment"]] = True
_TEXT, _SENTIMENT = np.uint64(1 << NUMBER["text"]), np.uint64(1 << NUMBER["sentiment"])
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
        _loaded(named).sentiments(["good", "dobrze", "to jest bardzo dobre, dziękuję", ""])


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
    there = fields.members
    which = np.flatnonzero(
        plain.known & _READ[columns["kind"]] & (there & _TEXT != 0) & (there & _SENTIMENT == 0)
    )
    if not len(which):
        return {}
    said, tongues = _strings(fields, which, NUMBER["text"]), _strings(fields, which, NUMBER["lang"])
    for i in np.flatnonzero(~fields.whole[which]).tolist():
        data = _read(raws[which[i]]).data
        said[i], tongues[i] = data.text, data.lang
    with _reading:
        scores = model.sentiments([text or "" for text in said], tongues)
    found = {row: score for row, score in zip(which.tolist(), scores, strict=True) if score is not None}
    rows, values = (
        np.fromiter(found, np.int64, len(found)),
        np.fromiter(found.values(), np.float64, len(found)),
    )
    fields.numbers[rows, NUMBER["sentiment"]] = values
    fields.members[rows] |= _SENTIMENT
    counts = _COUNTS[columns["kind"][rows]]
    columns["a"][rows[counts]], columns["flags"][rows[counts]] = values[counts], HAS_VALUE
    return found


def _strings(fields: Fields, rows: NDArray[np.int64], m: int) -> list[str | None]:
    """The text of a member of some records; None where it is not there, or has an escape."""
    there = (fields.members[rows] & np.uint64(1 << m) != 0).tolist()
    spans = fields.spans[rows, m].tolist()
    return [
        fields.text[begin:end].decode() if given and begin else None
        for given, (begin, end) in zip(there, spans, strict=True)
    ]


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
