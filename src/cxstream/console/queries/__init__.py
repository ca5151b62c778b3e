"""Views that only the console needs, in the format of `cxstream.warehouse.views`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from cxstream.warehouse.views import definition

if TYPE_CHECKING:
    from cxstream.warehouse.views.definition import View


@cache
def own(name: str) -> View:
    """A view of the console's own.

    Raises:
        FileNotFoundError: there is none.
    """
    return definition.parse(name, (resources.files(__name__) / f"{name}.sql").read_text("utf-8"))


def known(name: str) -> View:
    """A view by its name: the console's own, or one of the read model.

    Raises:
        InputError: there is none.
    """
    return own(name) if name in names() else definition.view(name)


@cache
def names() -> frozenset[str]:
    """The names of the console's own views."""
    return frozenset(
        each.name[:-4] for each in resources.files(__name__).iterdir() if each.name.endswith(".sql")
    )
