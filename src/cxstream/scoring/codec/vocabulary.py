"""The kinds that a decoder knows: the built-in ones and those of the company's own that the rules name.

A kind of the company's own has the number after the built-in ones by its place among the names in order; numbers hold
under one set of rules only, and no state keeps them.
"""

from __future__ import annotations

from functools import cached_property, lru_cache, reduce
from operator import or_
from types import NoneType
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

import msgspec

from cxstream.model.events import ENVELOPES, EVENT_TYPES, Event, envelope
from cxstream.model.fields import Data
from cxstream.model.kinds import Kind
from cxstream.scoring.codec.plain import contract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cxstream.kernels.events import Contract
    from cxstream.model.parameters import OwnKind

# Rules change seldom; the types of a set that is not in force any more are not needed again.
_KEPT = 8


class Vocabulary:
    """What events there are.

    Args:
        own: kinds of the company's own, in order of their names.

    Attributes:
        decode: decodes an event in structured form.
        labels: names of the kinds, by their numbers.
        own: the kinds of the company's own.
        contract: tables of these events for the kernel that reads plain ones; None where all are read one by one.
    """

    def __init__(self, own: Mapping[str, OwnKind]) -> None:
        self.own = dict(own)
        self.labels = (*(kind.label for kind in Kind), *self.own)
        envelopes = [
            envelope(name, len(Kind) + i, data_type(name, kind))
            for i, (name, kind) in enumerate(self.own.items())
        ]
        self._envelopes = [*ENVELOPES.values(), *envelopes]
        types: Any = reduce(or_, (*EVENT_TYPES, *envelopes))
        self.decode: Callable[[bytes], Event] = msgspec.json.Decoder(types).decode

    @cached_property
    def contract(self) -> Contract | None:
        """See the class."""
        return contract(self._envelopes, self.labels)


def data_type(name: str, kind: OwnKind) -> type[Data]:
    """The type of `data` of a kind of the company's own: the base type, with the fields that it requires."""
    if not kind.requires:
        return Data
    hints = get_type_hints(Data, include_extras=True)
    fields = [
        (field, reduce(or_, [each for each in get_args(hints[field]) if each is not NoneType]))
        for field in kind.requires
    ]
    made = msgspec.defstruct(f"Data_{name}", fields, bases=(Data,), kw_only=True, gc=False)
    return cast("type[Data]", made)


@lru_cache(_KEPT)
def _vocabulary(own: tuple[tuple[str, OwnKind], ...]) -> Vocabulary:
    return Vocabulary(dict(own))


def vocabulary(own: Mapping[str, OwnKind]) -> Vocabulary:
    """The vocabulary with these kinds of the company's own, in order of their names."""
    return _vocabulary(tuple(own.items())) if own else BUILT_IN


BUILT_IN = Vocabulary({})
