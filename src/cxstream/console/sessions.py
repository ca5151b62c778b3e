"""Who is signed in: sessions in memory, tokens of programs, and how many requests somebody may make.

A session is known by a cookie that no script can read; only its hash is kept. It ends when nothing is done for
`console.session_hours`, after `console.session_limit_hours` whatever is done, and with the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse

from cxstream.console import provider
from cxstream.console.people import MAX_NAME, NOBODY, People, Person
from cxstream.console.problems import refusal
from cxstream.console.scope import address
from cxstream.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Scope as Asked

    from cxstream.console.people import Scope
    from cxstream.settings import Console

_log = structlog.get_logger("cxstream.console")

SIGN_IN = "/sign-in"
_OPEN = frozenset((SIGN_IN, provider.BEGIN, provider.RETURN, "/healthz", "/preferences"))
_TRIES, _TRY_SECONDS = 5, 900.0
# From all addresses together: nobody locks another out by a few wrong passwords, and nobody guesses for ever.
_TRIES_OF_ALL = 100
_MOST_SESSIONS = 10_000
MOST_KNOWN = 10_000
"""Of whom a limit keeps the times."""
_CHECKED_AT_ONCE = 2


@dataclass(slots=True)
class Session:
    """Somebody who is signed in.

    Attributes:
        name: of the person.
        limit: end of the session whatever is done, by the monotonic clock.
        ends: end of the session if nothing is done.
        person: whom a provider has signed in; None: they are looked up in the users file.
        id_token: of the provider.
        form_token: what their forms carry.
    """

    name: str
    limit: float
    ends: float
    person: Person | None = None
    id_token: str = ""
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class Limit:
    """At most so many in a span of time.

    Names come from outside. So only those of MOST_KNOWN are kept, without whose last time is longest ago: a flood of names
    takes no more memory than that.

    Args:
        most: how many.
        seconds: in this time.
        clock: monotonic.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        # In the order of their last times.
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Whose times are kept."""
        return len(self._times)

    def take(self, who: str) -> bool:
        """Whether one more is allowed; it is counted if it is."""
        now = self._clock()
        self._drop(now - self._seconds)
        times = self._times.get(who, deque())
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) >= self._most:
            return False
        times.append(now)
        self._times[who] = times
        self._times.move_to_end(who)
        if len(self._times) > MOST_KNOWN:
            self._times.popitem(last=False)
        return True

    def _drop(self, until: float) -> None:
        """Forget whose last time is over; each is forgotten once."""
        while self._times and next(iter(self._times.values()))[-1] <= until:
            self._times.popitem(last=False)

    def forget(self, who: str) -> None:
        """Begin again for somebody."""
        self._times.pop(who, None)


class Sessions:
    """Everybody who is signed in.

    Args:
        settings: of the console.
        has_provider: people may sign in by a provider.
        clock: monotonic.
    """

    def __init__(
        self, settings: Console, *, has_provider: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.people = (
            People(settings.users_file, may_be_missing=has_provider)
            if settings.users_file is not None
            else None
        )
        self.is_secure = settings.behind_tls or settings.cert_file is not None
        self.cookie = "__Host-session" if self.is_secure else "session"
        self._has_provider = has_provider
        self.is_closed = has_provider or self.people is not None
        self._seconds, self._limit = settings.session_hours * 3600, settings.session_limit_hours * 3600
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._tries = Limit(_TRIES, _TRY_SECONDS, clock)
        self._tries_of_all = Limit(_TRIES_OF_ALL, _TRY_SECONDS, clock)
        # Each takes 64 MiB while it is checked.
        self._checking = asyncio.Semaphore(_CHECKED_AT_ONCE)
        self.requests = Limit(settings.requests_per_minute, 60.0, clock)

    def takes_passwords(self) -> bool:
        """Whether anybody can sign in by a password, or nobody knows."""
        if self.people is None:
            return False
        try:
            return not self._has_provider or self.people.has_passwords()
        except SettingsError:
            # Who tries is told.
            return True

    async def sign_in(self, name: str, password: str, origin: str) -> str | None:
        """The cookie of a new session; None if name or password are wrong.

        Args:
            name: of the person.
            password: theirs.
            origin: address of the browser.

        Raises:
            HTTPException: 429 after too many wrong passwords.
        """
        if self.people is None or len(name) > MAX_NAME:
            return None
        who = f"{origin} {name}"
        if not self._tries.take(who) or not self._tries_of_all.take(name):
            raise HTTPException(429)
        async with self._checking:
            person = await run_in_threadpool(self.people.signed_in, name, password)
        if person is None:
            return None
        self._tries.forget(who)
        self._tries_of_all.forget(name)
        return self._begin(person.name)

    def admit(self, person: Person, id_token: str) -> str:
        """The cookie of a new session of somebody whom a provider has signed in."""
        return self._begin(person.name, person, id_token)

    def _begin(self, name: str, person: Person | None = None, id_token: str = "") -> str:
        self._drop_ended()
        secret, now = secrets.token_urlsafe(32), self._clock()
        self._sessions[digest(secret)] = Session(
            name, now + self._limit, now + self._seconds, person, id_token
        )
        return secret

    def sign_out(self, cookie: str) -> Session | None:
        """End a session, and return it; None if there is none."""
        return self._sessions.pop(digest(cookie), None)

    def of(self, cookie: str | None) -> tuple[Person, Session] | None:
        """Whose session a cookie is; somebody who has left the file has none any more."""
        found, now = self._sessions.get(digest(cookie)) if cookie else None, self._clock()
        if found is None or min(found.ends, found.limit) < now:
            return None
        person = found.person
        if person is None:
            person = self.people.by_name().get(found.name) if self.people else None
            if person is None or not person.password:
                return None
        found.ends = now + self._seconds
        return person, found

    def _drop_ended(self) -> None:
        now = self._clock()
        self._sessions = {
            key: each for key, each in self._sessions.items() if min(each.ends, each.limit) >= now
        }
        while len(self._sessions) >= _MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))


class SignedIn:
    """Lets nobody in who is not signed in, and too many requests of nobody.

    `state.person` of a request is the person, and `state.form_token` what their forms carry.

    Args:
        app: that is protected.
        sessions: everybody who is signed in.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app = app
        self._sessions = sessions

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """Answer a request, or send the browser to the sign-in."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            person, form_token = self._who(request)
        except SettingsError as error:
            _log.error("users file cannot be read", error=str(error))
            await refusal(
                request.url.path,
                503,
                "The users file cannot be read: tell the administrator of the console.",
            )(scope, receive, send)
            return
        origin = request.client.host if request.client else ""
        path = request.url.path
        if not path.startswith("/static/") and not self._sessions.requests.take(
            person.name if person else origin
        ):
            await refusal(path, 429, "Too many requests: wait a minute.", {"retry-after": "60"})(
                scope, receive, send
            )
            return
        if person is not None and person.token and _scope_of(request) not in person.scopes:
            await refusal(
                path, 403, f"The token lacks the scope {_scope_of(request)}: have one made with it."
            )(scope, receive, send)
            return
        if person is None and path not in _OPEN and not path.startswith("/static/"):
            await _sent_to_sign_in(request)(scope, receive, send)
            return
        scope.setdefault("state", {}).update(person=person, form_token=form_token)
        await self.app(scope, receive, send)

    def _who(self, request: Request) -> tuple[Person | None, str]:
        if not self._sessions.is_closed:
            return NOBODY, ""
        kind, _, token = Headers(scope=request.scope).get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and request.url.path.startswith("/api/"):
            people = self._sessions.people
            return people.with_token(token.strip()) if people else None, ""
        found = self._sessions.of(request.cookies.get(self._sessions.cookie))
        return (found[0], found[1].form_token) if found else (None, "")


def _scope_of(request: Request) -> Scope:
    """What a program needs for a request."""
    return "read" if request.method in {"GET", "HEAD"} else "work"


def _sent_to_sign_in(request: Request) -> Response:
    path = request.url.path
    if request.method not in {"GET", "HEAD"} or path.startswith("/api/") or path.endswith(".csv"):
        with_token = "authorization" in request.headers
        text = "The token is unknown or has ended: have another one made." if with_token else "Sign in first."
        return refusal(path, 401, text, {"www-authenticate": "Bearer"})
    wanted = path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(address(SIGN_IN, None, {"next": "" if wanted == "/" else wanted}), 303)


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
