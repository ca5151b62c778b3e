"""Where the database is: a URL, without its password in anything that is shown.

libpq repeats parts of an address that it cannot read, and a password with an unescaped "@" or "/" ends up in the part
that it repeats. Such an address is refused here, with a message that repeats nothing of it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cxstream.model.errors import SinkError
from cxstream.settings.secrets import secret

if TYPE_CHECKING:
    from cxstream.settings import Sink

_URL = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^@/?#\s]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@/?#\s]*)(?::(?P<port>\d{1,5}))?(?:/(?P<database>[^/?#@\s]*))?(?:\?(?P<more>[^@#\s]*))?"
)
_SHAPE = "postgresql://USER@HOST:PORT/DATABASE"
_HERE = frozenset({"", "localhost", "127.0.0.1", "[::1]", "::1"})
# What the sink sets itself.
_OWN = frozenset({"options", "client_encoding", "replication"})


class Address:
    """A database and how to log in.

    Attributes:
        shown: the address without its password.

    Args:
        url: postgresql://...
        settings: the password, where the URL has none, and how long a connection may take.

    Raises:
        SinkError: it is no such URL.
        SettingsError: the password cannot be read.
    """

    def __init__(self, url: str, settings: Sink) -> None:
        found = _URL.fullmatch(url)
        if found is None:
            raise SinkError(
                f"the address of the database is not {_SHAPE}: write special characters of a name or a password as "
                "%40 for @, %2F for / and so on, or give the password by the setting sink.password_file"
            )
        user, host = found["user"] or "", found["host"]
        port, database = found["port"] or "", found["database"] or ""
        self.shown = f"postgresql://{user}{'@' if user else ''}{host}{':' if port else ''}{port}/{database}"
        named = {"user": user, "host": host.strip("[]"), "port": port, "dbname": database}
        self._parameters = {name: unquote(text) for name, text in named.items() if text}
        self._parameters |= self._options(found["more"] or "")
        password = secret(settings, "password", "sink")
        if found["password"]:
            self._parameters["password"] = unquote(found["password"])
        elif password is not None:
            self._parameters["password"] = password
        self._parameters["connect_timeout"] = str(settings.connect_seconds)
        where = self._parameters.get("host", os.environ.get("PGHOST", ""))
        if "sslmode" not in self._parameters and "PGSSLMODE" not in os.environ and not _is_here(where):
            self._parameters |= {"sslmode": "verify-full"}
            if "PGSSLROOTCERT" not in os.environ:
                self._parameters.setdefault("sslrootcert", "system")

    def _options(self, text: str) -> dict[str, str]:
        made = {}
        for part in filter(None, text.split("&")):
            name, equals, value = part.partition("=")
            if not equals or not re.fullmatch(r"[a-z_]+", name) or name in _OWN:
                raise SinkError(
                    f"{self.shown}: what follows the question mark is not NAME=VALUE&... of libpq's parameters, such as "
                    "sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem"
                )
            made[name] = unquote(value)
        return made

    def parameters(self) -> dict[str, Any]:
        """Parameters for `psycopg.connect`, the password among them."""
        return dict(self._parameters)

    def without_password(self, text: str) -> str:
        """A message of the server or of libpq, one line, without the password."""
        line = " ".join(text.split())
        password = self._parameters.get("password")
        return line.replace(password, "***") if password else line

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _is_here(host: str) -> bool:
    return host in _HERE or host.startswith(("/", "@"))
