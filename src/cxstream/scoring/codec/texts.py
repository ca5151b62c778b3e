"""Sentiments for the touchpoints of a batch that have a text and none, by the text model that the rules name."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from cxstream.model.errors import InstallationError
from cxstream.model.parameters import TextModelParams
from cxstream.model.text import DIGESTS, MODEL, READ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.text.model import TextModel

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
