"""The application: routes, one for each page and one for each page's tables, and what goes wrong."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from cxstream.console import api, assets, navigation, results, scope, work
from cxstream.console.actions import Actions
from cxstream.console.api import Api
from cxstream.console.audit import AuditLog
from cxstream.console.copies import Copies
from cxstream.console.delivery import Delivery
from cxstream.console.desk import Desk
from cxstream.console.entrance import Entrance, form_of, local
from cxstream.console.keeping import Keeping
from cxstream.console.language import LANGUAGES, negotiated
from cxstream.console.live import Live
from cxstream.console.measured import Measured
from cxstream.console.metrics import ConsoleMetrics
from cxstream.console.outlet import Outlet
from cxstream.console.page import STAFF, Ask, Page
from cxstream.console.people import Person, Role
from cxstream.console.problems import problem_of
from cxstream.console.provider import Provider
from cxstream.console.reader import Reader
from cxstream.console.rejects import Rejects
from cxstream.console.rendering import THEMES, Templates, address_of, theme_of
from cxstream.console.requested import learn
from cxstream.console.saved import SavedViews
from cxstream.console.security import Protection
from cxstream.console.sending import Sending
from cxstream.console.sessions import Sessions, SignedIn
from cxstream.console.tables import as_csv
from cxstream.console.warming import keep_warm
from cxstream.model.errors import CxstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

    from cxstream.console.language import Language
    from cxstream.console.reader import Source
    from cxstream.settings import Settings

T = TypeVar("T")

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")

_YEAR_S = 365 * 86400
_FORGET_SECONDS = 1.0
_EXTENT = "SELECT min(time) AS first, max(time) AS last, count(*) AS touchpoints FROM touchpoints"

_log = structlog.get_logger("cxstream.console")


def create_app(
    settings: Settings,
    warehouse: Path | None = None,
    hosts: Sequence[str] = LOCAL_HOSTS,
    metrics: ConsoleMetrics | None = None,
    source: Source | None = None,
    *,
    is_served: bool = False,
) -> ASGIApp:
    """The console as an ASGI application.

    Args:
        settings: of the installation.
        warehouse: file of the read model; by default that of the settings.
        hosts: names by which browsers may call it.
        metrics: told of what happens.
        source: what is read instead of the file.
        is_served: a server runs it: pages of a large read model are made before somebody asks for them, and erasure requests are
            read from Kafka.
    """
    metrics = metrics or ConsoleMetrics()
    console = _Console(settings, warehouse or settings.warehouse.path, metrics, source, is_served=is_served)
    routes = list(console.routes())
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: console.problem,
            CxstreamError: console.problem,
            Exception: console.problem,
        },
        lifespan=console.lifespan,
    )
    # Around everything: the page that tells of a defect is protected, too.
    protected = Protection(SignedIn(app, console.sessions), hosts, is_secure=console.sessions.is_secure)
    return Measured(protected, routes, metrics)


class _Console:
    def __init__(
        self,
        settings: Settings,
        warehouse: Path,
        metrics: ConsoleMetrics,
        source: Source | None,
        *,
        is_served: bool,
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._is_served = is_served
        self._pages = navigation.found()
        self._reader = Reader(warehouse, settings.warehouse, settings.console, metrics, source)
        views = settings.console.views_file or warehouse.with_name(f"{warehouse.name}.views.json")
        self._saved = SavedViews(views)
        self._templates = Templates(settings, self._pages)
        self._copies = Copies()
        provider = Provider(settings.oidc) if settings.oidc.issuer is not None else None
        self.sessions = Sessions(settings.console, has_provider=provider is not None)
        self._live = Live(self._reader.shown)
        metrics.streams(lambda: self._live.open)
        self._entrance = Entrance(self.sessions, self._templates, provider)
        people = self.sessions.people
        self._desk = Desk(settings, people.agents if people else set)
        self._rejects = Rejects(settings)
        to_kafka = Delivery(Outlet(settings, settings.topology.audit)) if self._desk.is_open else None
        self._audit = AuditLog(to_kafka)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._audit.start()
        tasks = [
            asyncio.create_task(self._metrics.watch(self._reader)),
            asyncio.create_task(self._forget_people()),
        ]
        if self._is_served and self._desk.is_open:
            tasks.append(asyncio.create_task(learn(self._settings, self._desk)))
        if self._is_served and self._settings.console.old_seconds > 0:
            old = self._settings.console.old_seconds
            tasks.append(asyncio.create_task(keep_warm(self._pages.values(), self._ask_ahead, old)))
        for task in tasks:
            task.add_done_callback(_ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self._live.end()
            self._reader.close()
            await asyncio.gather(self._audit.close(), self._desk.close(), self._rejects.close())

    async def _forget_people(self) -> None:
        """Drop results and pages that name customers once the read model or what was asked for leaves somebody out."""
        known = self._reader.state(), self._desk.erasures
        while True:
            await asyncio.sleep(_FORGET_SECONDS)
            now = self._reader.state(), self._desk.erasures
            if now != known:
                self._reader.forget(all_people=now[1] != known[1])
                if now[1] != known[1]:
                    self._copies.forget()
                # Pages of the model as it is now stay: somebody may have asked for them since it changed.
                self._copies.keep_only(self._state())
            known = now

    def _state(self) -> Hashable:
        """Changes with what pages that are shared show."""
        # Snoozes end with a minute of the clock.
        return self._reader.shown(), self._desk.version, work.now()

    def routes(self) -> Sequence[Route]:
        routes = [
            Route("/", self._home),
            Route("/healthz", _healthy),
            Route("/preferences", self._preferences, methods=["POST"]),
            Route(assets.PREFIX + "/{name}", _asset),
            *self._entrance.routes(),
            Route("/live", self._live.stream),
            *Keeping(self._saved, self._pages).routes(),
            *Sending(self._ask, self._rejects, self._audit).routes(),
            *Actions(self._ask, self._desk, self._audit).routes(),
            *Api(self._ask, _waited_for).routes(),
        ]
        for page in self._pages.values():
            if page.tables:
                # Before the page: its path may end with a parameter that takes the dot, too.
                routes.append(Route(f"{page.path}.csv", _waited_for(self._table(page))))
            routes.append(Route(page.path, _waited_for(self._page(page))))
        return routes

    async def _home(self, _: Request) -> Response:
        return RedirectResponse(next(iter(navigation.groups(self._pages)))[1][0].path, 302)

    def _page(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def show(request: Request) -> Response:
            before = self._reader.state()
            try:
                return await made(request, await self._ask(page, request))
            except (CxstreamError, HTTPException):
                raise
            except Exception as error:
                if self._reader.state() == before:
                    raise
                # Its queries may have read two states that do not fit together.
                _log.info(
                    "a page is made again, since the read model changed", page=page.name, error=repr(error)
                )
                return await made(request, await self._asked(page, request, request.state.person))

        async def made(request: Request, ask: Ask) -> Response:
            if page.scoped and ask.last is None:
                return self._templates.response("empty.html", request, ask.language, ask=ask, page=page)
            name = f"pages/{page.name}.html"

            async def make(render: Callable[..., T]) -> T:
                with results.page(ask.touchpoints) as served:
                    found = await page.show(ask)
                return render(
                    name,
                    request,
                    ask.language,
                    ask=ask,
                    page=page,
                    old=served.since,
                    has_failed=served.has_failed,
                    **found,
                )

            if not page.is_shared:
                return await make(self._templates.response)
            who = ask.person.rank, bool(ask.person.name), ask.language.code, theme_of(request)
            # The period may be that of the state before, where something has been committed since it was found.
            extent = ask.scope.first, ask.last, ask.touchpoints
            text = await self._copies.of(
                self._state(), (address_of(request), *who, *extent), lambda: make(self._templates.common)
            )
            return self._templates.personal(text, ask)

        return show

    def _table(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def download(request: Request) -> Response:
            ask = await self._ask(page, request)
            make = page.tables.get(ask.param("table") or next(iter(page.tables)))
            if make is None:
                raise HTTPException(404)
            table = await make(ask)
            headers = {"content-disposition": f'attachment; filename="{table.name}.csv"'}
            return Response(as_csv(table), media_type="text/csv; charset=utf-8", headers=headers)

        return download

    async def _ask(self, page: Page, request: Request) -> Ask:
        person = request.state.person
        if person.rank < Role[page.role]:
            raise HTTPException(403, page.role)
        if person.rank >= Role.agent:
            # A page that may name customers, and what was asked of it.
            self._audit.looked(person, request)
        return await self._asked(page, request, person)

    async def _ask_ahead(self, page: Page, period: str) -> Ask:
        """A request that nobody has made, so that nobody's name stands in cx.audit for it."""
        query = f"period={period}".encode() if page.scoped else b""
        request = Request(
            {"type": "http", "method": "GET", "path": page.path, "query_string": query, "headers": []}
        )
        return await self._asked(page, request, Person("", "admin"))

    async def _asked(self, page: Page, request: Request, person: Person) -> Ask:
        (extent,) = await self._reader.sql(_EXTENT)
        few = self._settings.warehouse.few_answers
        found = scope.parse(request.query_params, extent["first"], extent["last"], few)
        found = replace(found, teams=self._settings.insights.teams)
        if person.rank < Role.agent and any(each.dimension == STAFF for each in found.filters):
            raise HTTPException(403, "agent")
        return Ask(
            request,
            page,
            self._reader,
            _language(request),
            found,
            self._settings,
            extent["last"],
            person,
            self._desk,
            self._saved,
            self._rejects,
            touchpoints=extent["touchpoints"],
        )

    async def _preferences(self, request: Request) -> Response:
        """Keep the language or the theme, and show the page again."""
        form = await form_of(request)
        answer = RedirectResponse(local(str(form.get("next", "/"))), 303)
        for name, choices in (("language", tuple(LANGUAGES)), ("theme", THEMES)):
            if form.get(name) in choices:
                answer.set_cookie(name, str(form[name]), _YEAR_S, httponly=True, samesite="lax")
        return answer

    async def problem(self, request: Request, error: Exception) -> Response:
        """A page that says what went wrong and what to do."""
        found = problem_of(error)
        reference = ""
        if found.is_defect:
            reference = secrets.token_hex(4)
            _log.exception("a page failed", path=request.url.path, reference=reference, exc_info=error)
        if request.url.path.startswith(api.PREFIX):
            return api.problem_json(found, reference)
        if request.url.path.endswith(".csv"):
            return PlainTextResponse(f"{found.detail or found.title} {reference}\n", found.status)
        return self._templates.response(
            "problem.html", request, _language(request), found.status, problem=found, reference=reference
        )


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("what runs beside the pages has failed: restart the console", exc_info=error)


def _language(request: Request) -> Language:
    return negotiated(request.cookies.get("language"), request.headers.get("accept-language", ""))


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _asset(request: Request) -> Response:
    found = assets.response(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return found


def _waited_for(
    answer: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """An endpoint whose queries are stopped when the browser goes away."""

    async def endpoint(request: Request) -> Response:
        answering = asyncio.ensure_future(answer(request))
        leaving = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                # Nobody reads it.
                return PlainTextResponse("", 499)
            return answering.result()
        finally:
            for task in (answering, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    return endpoint


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
