"""What went wrong, in words for the people who use the console."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from cxstream.console.language import N_
from cxstream.console.reader import TooSlowError
from cxstream.console.saved import ViewsFileError
from cxstream.model.errors import (
    BrokerError,
    CxstreamError,
    InputError,
    SettingsError,
    TopicError,
    WarehouseError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

API = "/api/"
"""What is below it answers programs."""
_NOT_FOUND, _FORBIDDEN, _TOO_MANY = 404, 403, 429


class Problem(NamedTuple):
    """A problem.

    Attributes:
        status: of HTTP.
        title: what is so, marked by N_.
        advice: what to do, marked by N_.
        detail: what cxstream says of it, in English; "" for nothing.
        is_defect: the log has more, under a reference.
    """

    status: int
    title: str
    advice: str
    detail: str = ""
    is_defect: bool = False


def refusal(path: str, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that no page takes: a sentence, and for programs a problem document (RFC 9457)."""
    if not path.startswith(API):
        return PlainTextResponse(f"{text}\n", status, headers)
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": text}
    return Response(orjson.dumps(content), status, headers, media_type="application/problem+json")


def problem_of(error: Exception) -> Problem:
    """The problem that an error is."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, TooSlowError):
        return Problem(
            504, N_("This took too long"), N_("Choose a shorter period or fewer filters."), str(error)
        )
    if isinstance(error, CxstreamError):
        return _of_ours(error)
    return Problem(
        500,
        N_("This part failed"),
        N_(
            "Nothing is lost. Try again; if it stays so, give the reference to the administrator of the console."
        ),
        is_defect=True,
    )


def _of_ours(error: CxstreamError) -> Problem:
    if isinstance(error, WarehouseError):
        return Problem(
            503,
            N_("The read model cannot be read"),
            N_(
                "The figures come back when the file can be opened. Show this page to the administrator of the console."
            ),
            str(error),
        )
    if isinstance(error, ViewsFileError):
        return Problem(
            503,
            N_("Saved views cannot be read or kept"),
            N_("Show this page to the administrator of the console."),
            str(error),
        )
    if isinstance(error, SettingsError):
        # The users file changed under a running console; the log names it.
        return Problem(
            503,
            N_("Nobody can sign in now"),
            N_("Tell the administrator of the console: the users file cannot be read."),
        )
    if isinstance(error, BrokerError | TopicError):
        return Problem(
            503,
            N_("Kafka did not take it"),
            N_(
                "It may not be kept. Go back and try again, it counts once; if it stays so, tell the administrator of the console."
            ),
            str(error),
        )
    if isinstance(error, InputError):
        return Problem(
            400,
            N_("This address does not fit"),
            N_("Go back, or open the page again without filters."),
            # Parameters of an address are called as options of the command are.
            re.sub(r"--(?=[a-z])", "", str(error)),
        )
    return Problem(
        500,
        N_("This could not be shown"),
        N_("Show this page to the administrator of the console."),
        str(error),
    )


def _of_http(error: HTTPException) -> Problem:
    if error.status_code == _NOT_FOUND:
        return Problem(
            404, N_("There is no such page"), N_("The address may be mistyped, or what it named is gone.")
        )
    if error.status_code == _FORBIDDEN:
        return Problem(
            403,
            N_("Your role does not show this"),
            N_("Ask an administrator of the console, who can give you another role."),
            error.detail,
        )
    if error.status_code == _TOO_MANY:
        return Problem(429, N_("Too many wrong passwords"), N_("Wait 15 minutes and try again."))
    return Problem(
        error.status_code, N_("This cannot be done here"), N_("Go back and try another way."), error.detail
    )
