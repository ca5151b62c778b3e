"""Who may sign in: a file with names, roles and hashes of passwords, and tokens of programs."""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from cxstream.files.private import draft
from cxstream.model.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

MIN_PASSWORD = 12
"""Characters of a password, at least."""

RoleName = Literal["viewer", "agent", "admin"]


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
    """

    name: str
    role: RoleName
    password: str = ""
    token: str = ""

    @property
    def rank(self) -> Role:
        """The role, to be compared."""
        return Role[self.role]


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
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
        except OSError as error:
            raise SettingsError(
                f"console.users_file: {self._path}: {error.strerror}: make it with 'cxstream serve --add-user NAME'"
            ) from error
        return self._read[1]

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
        """The program whose token this is."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = [each for each in self.by_name().values() if secrets.compare_digest(each.token, digest)]
        return found[0] if token and found else None


def add_person(path: Path, name: str, role: RoleName, password: str) -> None:
    """Put somebody into the file, or give them another password or role.

    Raises:
        SettingsError: the password is too short, or the file cannot be written.
    """
    if len(password) < MIN_PASSWORD:
        raise SettingsError(f"a password has at least {MIN_PASSWORD} characters: choose a longer one")
    _put(path, Person(name, role, password=_hasher().hash(password)))


def add_program(path: Path, name: str, role: RoleName) -> str:
    """Put a program into the file; returns its token, which is kept nowhere.

    Raises:
        SettingsError: the file cannot be written.
    """
    token = secrets.token_urlsafe(32)
    _put(path, Person(name, role, token=hashlib.sha256(token.encode()).hexdigest()))
    return token


def _put(path: Path, person: Person) -> None:
    people = {each.name: each for each in (_load(path).people if path.exists() else [])}
    people[person.name] = person
    try:
        file, place = draft(path)
        with file:
            file.write(msgspec.json.format(msgspec.json.encode(_File(list(people.values())))))
        place.replace(path)
    except OSError as error:
        raise SettingsError(f"console.users_file: {path}: {error.strerror}") from error


def _load(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as error:
        raise SettingsError(f"console.users_file: {path}: {error}") from error


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
