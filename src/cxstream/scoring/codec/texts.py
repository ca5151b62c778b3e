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
_TEXT, _LANG, _SENTIMENT = (np.uint64(1 << NUMBER[name]) for name in ("text", "lang", "sentiment"))
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
    which = np.flatnonzero(fields.members & (_TEXT | _SENTIMENT) == _TEXT)
    which = which[plain.known[which] & _READ[columns["kind"][which]]]
    if not len(which):
        return {}
    scores = _scores(raws, fields, which, model)
    known = ~np.isnan(scores)
    rows, values = which[known], scores[known]
    fields.numbers[rows, NUMBER["sentiment"]] = values
    fields.members[rows] |= _SENTIMENT
    counts = _COUNTS[columns["kind"][rows]]
    columns["a"][rows[counts]], columns["flags"][rows[counts]] = values[counts], HAS_VALUE
    return dict(zip(rows.tolist(), values.tolist(), strict=True))


def _scores(
    raws: Sequence[bytes | None], fields: Fields, which: NDArray[np.int64], model: TextModel
) -> NDArray[np.float64]:
    """The sentiments of some records, by row of `which`; NaN where the model abstains."""
    scores, whole = np.empty(len(which)), fields.whole[which]
    rows = which[whole]
    spans, tags = fields.spans[rows, NUMBER["text"]], fields.spans[rows, NUMBER["lang"]]
    tags[fields.members[rows] & _LANG == 0] = 0
    # Where there is an escape, the text is not what lies in the record.
    escaped = [_read(raws[i]).data for i in which[~whole].tolist()]
    with _reading:
        scores[whole] = model.read(fields.text, spans, tags)
        if escaped:
            found = model.sentiments([data.text or "" for data in escaped], [data.lang for data in escaped])
            scores[~whole] = [np.nan if score is None else score for score in found]
    return scores


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
