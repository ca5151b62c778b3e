"""The routes of saved views: keep one, rename or delete it, and follow its link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cxstream.console.entrance import form_of, local
from cxstream.console.people import known_as
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from starlette.requests import Request

    from cxstream.console.page import Page
    from cxstream.console.saved import SavedViews

PATH = "/views"


class Keeping:
    """The routes.

    Args:
        saved: the views.
        pages: all pages, by name.
    """

    def __init__(self, saved: SavedViews, pages: dict[str, Page]) -> None:
        self._saved = saved
        self._paths = {page.path for page in pages.values() if page.listed}

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, self._change, methods=["POST"]),
            Route(PATH + "/{number}", self._open),
        ]

    async def _change(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await form_of(request)).items()}
        who, do = known_as(request.state.person), form.get("do", "")
        if do == "save":
            self._saved.save(who, form.get("name", ""), form.get("address", ""), self._paths)
        elif do == "rename":
            self._saved.rename(who, form.get("id", ""), form.get("name", ""))
        elif do == "delete":
            self._saved.delete(who, form.get("id", ""))
        else:
            raise InputError(f"do={do}: is none of save, rename, delete")
        return RedirectResponse(local(form.get("next", PATH)), 303)

    async def _open(self, request: Request) -> Response:
        found = self._saved.get(request.path_params["number"])
        if found is None:
            raise HTTPException(404)
        return RedirectResponse(found.address, 302)
