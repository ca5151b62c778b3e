"""Sign-in by an OpenID provider: authorization code with PKCE, by Authlib.

    /sign-in/provider  -> the provider, with state, nonce and code challenge, which are kept here for one browser
    /sign-in/return    <- code and state; the code gives an ID token, the ID token a name and a role

Nothing of the provider is kept but the ID token, which names the session when somebody signs out there.
"""

from __future__ import annotations

import ssl
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.console.language import N_
from cxstream.console.people import Person, RoleName
from cxstream.model.errors import CxstreamError, SettingsError
from cxstream.settings.secrets import secret

with warnings.catch_warnings():
    # It would rather have httpx2, and says so to everybody who starts the console.
    import authlib.deprecate  # noqa: F401  # shows its warnings always, from here on

    warnings.simplefilter("ignore")
    from authlib.integrations.starlette_client import OAuth, OAuthError

import httpx
from joserfc.errors import JoseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from cxstream.settings import Oidc

BEGIN, RETURN = "/sign-in/provider", "/sign-in/return"
STATE_SECONDS = 600
"""How long somebody may take to sign in there."""

EVERYBODY = "*"
_MAX_NAME = 128
_ANSWER_SECONDS = 10.0
# Addresses and keys of the provider are asked for again, so that a key that it has withdrawn is not trusted for ever.
_KEPT_SECONDS = 3600.0
# Signed by a key that only the provider has; not "none", and not by the secret that is here, too.
_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
_NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")

UNREACHABLE = N_(
    "The sign-in service does not answer. Try again in a minute; if it stays so, tell the administrator of the console."
)
NO_ROLE = N_(
    "You are known, and have no role in the console. Ask its administrator to give you one, and sign in again."
)
LATE = N_("This sign-in took too long, or was begun in another window. Begin again.")
STOPPED = N_("The sign-in service let nobody in. Begin again, or ask the administrator of the console.")
UNTRUSTED = N_(
    "The answer of the sign-in service does not hold, and nobody is signed in. Tell the administrator of the console."
)


class SignInError(CxstreamError):
    """Nobody is signed in.

    Args:
        status: of HTTP.
        advice: for the person who tries, marked by N_.
        reason: for the log.
    """

    def __init__(self, status: int, advice: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.advice = status, advice


class Admitted(NamedTuple):
    """Somebody whom the provider has signed in.

    Attributes:
        person: their name and role.
        id_token: as it came; names the session when they sign out.
        wanted: the address that they wanted.
    """

    person: Person
    id_token: str
    wanted: str


class Provider:
    """The OpenID provider of the settings.

    Args:
        settings: of the provider, with an issuer.
        clock: monotonic.

    Raises:
        SettingsError: the secret or the certificates cannot be read.
    """

    def __init__(self, settings: Oidc, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._issuer = settings.issuer or ""
        self.name = settings.name
        self._asked = float("-inf")
        self._app = OAuth().register(
            "provider",
            client_id=settings.client_id,
            client_secret=secret(settings, "client_secret", "oidc"),
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": settings.scopes,
                "code_challenge_method": "S256",
                "timeout": _ANSWER_SECONDS,
                "verify": _trusted(settings),
            },
        )
        self._app.framework.expires_in = STATE_SECONDS

    async def begin(self, request: Request, return_to: str, wanted: str) -> Response:
        """Send the browser to the provider.

        Args:
            request: `session` of it keeps the state.
            return_to: address to come back to.
            wanted: address of the console to go to then.

        Raises:
            SignInError: the provider cannot be asked.
        """
        await self._find()
        answer: Response = await self._app.authorize_redirect(request, return_to)
        request.session["wanted"] = wanted
        return answer

    async def finish(self, request: Request) -> Admitted:
        """Whom the provider has signed in, by the request with which the browser comes back.

        Raises:
            SignInError: nobody, or nobody with a role.
        """
        said = request.query_params.get("iss", self._issuer)
        if said != self._issuer:
            raise SignInError(401, UNTRUSTED, f"the answer is of another issuer: {said[:200]}")
        await self._find()
        options: dict[str, Any] = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
            "sub": {"essential": True},
        }
        try:
            token = await self._app.authorize_access_token(
                request, claims_options=options, leeway=self._settings.clock_skew_seconds
            )
            claims = await self._claims(token)
        except OAuthError as error:
            raise _refused(error) from error
        except JoseError as error:
            raise SignInError(401, UNTRUSTED, f"the ID token does not hold: {error}") from error
        except (httpx.HTTPError, OSError) as error:
            raise SignInError(503, UNREACHABLE, f"{self._issuer}: {error!r}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SignInError(401, UNTRUSTED, f"the answer cannot be read: {error!r}") from error
        return Admitted(self._person(claims), token["id_token"], str(request.session.get("wanted", "")))

    async def leave(self, id_token: str, return_to: str) -> str | None:
        """The address at which somebody signs out of the provider, too; None where it has none.

        Args:
            id_token: of the session.
            return_to: address to come back to.
        """
        try:
            await self._find()
            if not self._app.server_metadata.get("end_session_endpoint"):
                return None
            made = await self._app.create_logout_url(return_to, id_token, client_id=self._settings.client_id)
        except SignInError:
            # They are signed out here, whatever the provider does.
            return None
        return str(made["url"])

    async def _find(self) -> None:
        """Ask where the provider's pages are, if that is not known."""
        app = self._app
        if self._clock() - self._asked < _KEPT_SECONDS:
            return
        for name in ("_loaded_at", "jwks"):
            app.server_metadata.pop(name, None)
        try:
            found = await app.load_server_metadata()
        except (httpx.HTTPError, OSError, ValueError, TypeError) as error:
            app.server_metadata.pop("_loaded_at", None)
            raise SignInError(503, UNREACHABLE, f"{self._issuer}: {error!r}") from error
        problem = self._problem(found)
        if problem:
            app.server_metadata.clear()
            raise SignInError(503, UNREACHABLE, problem)
        offered = found.get("id_token_signing_alg_values_supported") or ["RS256"]
        found["id_token_signing_alg_values_supported"] = [each for each in offered if each in _ALGORITHMS]
        self._asked = self._clock()

    def _problem(self, found: Mapping[str, Any]) -> str:
        """What is wrong with the provider's description of itself; "" for nothing."""
        if found.get("issuer") != self._issuer:
            return f"oidc.issuer: is {self._issuer}, and the provider calls itself {found.get('issuer')}: set that"
        missing = [name for name in _NEEDED if not isinstance(found.get(name), str)]
        return f"{self._issuer}: its configuration has no {missing[0]}" if missing else ""

    async def _claims(self, token: Mapping[str, Any]) -> dict[str, Any]:
        """What the provider says of somebody: in the ID token, or where it is asked for their details."""
        if not token.get("userinfo"):
            raise ValueError("there is no ID token")
        claims = dict(token["userinfo"])
        names = (self._settings.name_claim, self._settings.role_claim)
        if all(_claim(claims, name) is not None for name in names):
            return claims
        if self._app.server_metadata.get("userinfo_endpoint"):
            more = await self._app.userinfo(token=token)
            if more.get("sub") != claims["sub"]:
                raise ValueError("the details are of somebody else")
            claims = {**more, **claims}
        return claims

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        name = _claim(claims, settings.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            raise SignInError(
                403,
                UNTRUSTED,
                f"the claim {settings.name_claim} is no name: set oidc.name_claim or oidc.scopes",
            )
        if settings.name_claim == "email" and claims.get("email_verified") is False:
            raise SignInError(403, UNTRUSTED, f"the provider has not verified the address {name}")
        role = self._role(claims)
        if role is None:
            raise SignInError(
                403,
                NO_ROLE,
                f"{name} has none of the values of oidc.viewers, oidc.agents and oidc.admins in the claim "
                f"{settings.role_claim}: {_claim(claims, settings.role_claim)!r:.500}",
            )
        return Person(name, role)

    def _role(self, claims: Mapping[str, Any]) -> RoleName | None:
        """The highest role of those that their groups give."""
        said = _claim(claims, self._settings.role_claim)
        have = (
            {said} if isinstance(said, str) else set(filter(_is_text, said if isinstance(said, list) else ()))
        )
        have.add(EVERYBODY)
        given: tuple[tuple[RoleName, Sequence[str]], ...] = (
            ("admin", self._settings.admins),
            ("agent", self._settings.agents),
            ("viewer", self._settings.viewers),
        )
        return next((role for role, values in given if have & set(values)), None)


def _trusted(settings: Oidc) -> ssl.SSLContext | bool:
    if settings.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"oidc.ca_file: {settings.ca_file} cannot be read: {error}") from error


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by the way to it through objects.

    >>> _claim({"realm_access": {"roles": ["a"]}}, "realm_access.roles"), _claim({"https://x.org/g": "b"}, "https://x.org/g")
    (['a'], 'b')
    """
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _refused(error: OAuthError) -> SignInError:
    """What an error of the protocol means for the person."""
    reason = f"{error.error}: {error.description}"[:500]
    if error.error == "mismatching_state":
        return SignInError(401, LATE, "the browser has no such state, or no longer")
    if error.error in {"server_error", "temporarily_unavailable"}:
        return SignInError(503, UNREACHABLE, reason)
    return SignInError(401, STOPPED, reason)
