"""Who may sign in: a file with names, roles and hashes of passwords, and tokens of programs."""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
import time
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from cxstream.files.private import draft, put
from cxstream.model.errors import SettingsError
from cxstream.model.rfc3339 import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAX_NAME = 128
MIN_PASSWORD = 12
"""Characters of a password, at least."""

RoleName = Literal["viewer", "agent", "admin"]
Scope = Literal["read", "work"]
_DAY_MS = 86_400_000


class Role(IntEnum):
    """What somebody may see; each sees what those before it see, too."""

    viewer = 0  # figures, and no customer
    agent = 1  # customers
    admin = 2  # everything


class Person(msgspec.Struct, frozen=True):
    """Somebody, or a program, that may sign in.

    Attributes:
        name: as they sign in.
        role: what they may see.
        password: hash by argon2id; "" for a program.
        token: SHA-256 of the token of a program, in hexadecimal; "" for people.
        scopes: what a program may ask for: to read, and to do work on customers.
        made: since when a program has its token, UTC by RFC 3339; "" where that is not known.
        by: who made it.
        ends: until when it holds; "" for ever.
    """

    name: str
    role: RoleName
    password: str = ""
    token: str = ""
    scopes: tuple[Scope, ...] = ("read", "work")
    made: str = ""
    by: str = ""
    ends: str = ""

    @property
    def rank(self) -> Role:
        """The role, to be compared."""
        return Role[self.role]

    def holds(self, now_ms: int) -> bool:
        """Whether the token of a program holds at this time, ms UTC."""
        return not self.ends or self.ends > rfc3339(now_ms)


NOBODY = Person("", "admin")
"""Where nobody signs in: everybody on this computer."""


def known_as(person: Person) -> str:
    """Whom a record names: the person, or the user of this computer where nobody signs in."""
    return person.name or _user()


class _File(msgspec.Struct):
    people: list[Person] = []


class People:
    """Everybody in a file; it is read again when it has changed.

    Args:
        path: the file.
        may_be_missing: where there is no file, nobody is in it; people sign in by a provider.
    """

    def __init__(self, path: Path, *, may_be_missing: bool = False) -> None:
        self._path, self._may_be_missing = path, may_be_missing
        self._read: tuple[int, dict[str, Person]] | None = None
        self.by_name()

    def by_name(self) -> dict[str, Person]:
        """Everybody, by name.

        Raises:
            SettingsError: the file cannot be read.
        """
        try:
            changed = self._path.stat().st_mtime_ns
            if self._read is None or self._read[0] != changed:
                self._read = changed, {each.name: each for each in _load(self._path).people}
        except FileNotFoundError as error:
            if not self._may_be_missing:
                raise self._missing(error) from error
            self._read = None
            return {}
        except OSError as error:
            raise self._missing(error) from error
        return self._read[1]

    def _missing(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"console.users_file: {self._path}: {error.strerror}: make it with 'cxstream serve --add-user NAME'"
        )

    def has_passwords(self) -> bool:
        """Whether anybody can sign in by a password."""
        return any(each.password for each in self.by_name().values())

    def agents(self) -> set[str]:
        """Names of the people who may see customers; no programs."""
        return {each.name for each in self.by_name().values() if each.password and each.rank >= Role.agent}

    def signed_in(self, name: str, password: str) -> Person | None:
        """The person, if the password is theirs. Takes the same time for a name that nobody has."""
        person = self.by_name().get(name)
        try:
            _hasher().verify(person.password if person and person.password else _nobodys(), password)
        except (Argon2Error, InvalidHashError):
            return None
        return person if person and person.password else None

    def with_token(self, token: str) -> Person | None:
        """The program whose token this is, if it still holds."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = [each for each in self.by_name().values() if secrets.compare_digest(each.token, digest)]
        return found[0] if token and found and found[0].holds(_now_ms()) else None


def add_person(path: Path, name: str, role: RoleName, password: str) -> None:
    """Put somebody into the file, or give them another password or role.

    Raises:
        SettingsError: the password is too short, a program has the name, or the file cannot be written.
    """
    if path.exists() and any(each.token and each.name == name for each in _load(path).people):
        raise SettingsError(f"{name}: is a program: take another name, or 'cxstream clients revoke {name}'")
    if len(password) < MIN_PASSWORD:
        raise SettingsError(f"a password has at least {MIN_PASSWORD} characters: choose a longer one")
    _put(path, Person(name, role, password=_hasher().hash(password)))


def add_program(
    path: Path,
    name: str,
    role: RoleName,
    scopes: Sequence[Scope] = ("read", "work"),
    days: int = 0,
    by: str = "",
) -> str:
    """Put a program into the file; returns its token, which is kept nowhere.

    Args:
        path: the file.
        name: of the program.
        role: what it may see.
        scopes: what it may ask for.
        days: for how long; 0 for ever.
        by: who wants it.

    Raises:
        SettingsError: the name is taken, or the file cannot be written.
    """
    check_name(path, name)
    token, now = secrets.token_urlsafe(32), _now_ms()
    digest = hashlib.sha256(token.encode()).hexdigest()
    ends = rfc3339(now + days * _DAY_MS) if days else ""
    _put(path, Person(name, role, token=digest, scopes=tuple(scopes), made=rfc3339(now), by=by, ends=ends))
    return token


def check_name(path: Path, name: str) -> None:
    """Check that a program may have this name.

    Raises:
        SettingsError: it is none, or somebody has it.
    """
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise SettingsError(f"a program has a name of 1 to {MAX_NAME} printable characters")
    if path.exists() and name in {each.name for each in _load(path).people}:
        raise SettingsError(
            f"{name}: is in {path} already: take another name, or 'cxstream clients revoke {name}'"
        )


def programs(path: Path) -> list[Person]:
    """The programs of the file, by name.

    Raises:
        SettingsError: the file cannot be read.
    """
    return sorted(
        (each for each in People(path).by_name().values() if each.token), key=lambda each: each.name
    )


def remove_program(path: Path, name: str) -> None:
    """Take a program out of the file; its token does not hold any more.

    Raises:
        SettingsError: there is no such program, or the file cannot be written.
    """
    if name not in {each.name for each in programs(path)}:
        raise SettingsError(
            f"{name}: no program of this name is in {path}: 'cxstream clients list' shows them"
        )
    _write(path, [each for each in _load(path).people if each.name != name])


def _put(path: Path, person: Person) -> None:
    people = {each.name: each for each in (_load(path).people if path.exists() else [])}
    people[person.name] = person
    _write(path, list(people.values()))


def _write(path: Path, people: list[Person]) -> None:
    try:
        file, place = draft(path)
        with file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(people))))
        put(place, path)
    except OSError as error:
        raise SettingsError(f"console.users_file: {path}: {error.strerror}") from error


def _load(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"console.users_file: {path}: {error}") from error


def _now_ms() -> int:
    return round(time.time() * 1000)


@cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Containers have users without a name.
        return f"user {os.getuid()}"


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))
