"""Secrets that settings name: the text itself, or the file that holds it.

They are read when they are needed, never kept: who rotates a file needs no restart for new clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.model.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel, SecretStr


def secret(section: BaseModel, name: str, where: str = "security") -> str | None:
    """A secret that is given itself or as a file (a trailing newline is none of it); None where it is not.

    Args:
        section: the settings.
        name: of the setting: password, key_password, client_secret, web_token, key or previous_key.
        where: the section's name.

    Raises:
        SettingsError: it is given twice, or the file cannot be read or is empty.
    """
    given: SecretStr | None = getattr(section, name)
    path: Path | None = getattr(section, f"{name}_file")
    if path is None:
        return given.get_secret_value() if given else None
    if given is not None:
        raise SettingsError(f"{where}.{name}, {where}.{name}_file: both are given; keep one of them")
    return read_secret(path, f"{where}.{name}_file")


def read_secret(path: Path, setting: str) -> str:
    """The text of a file without the newline at its end.

    Raises:
        SettingsError: it cannot be read, is not text, or is empty; names the setting.
    """
    try:
        text = path.read_text().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{setting}: {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting}: {path} is not text in UTF-8") from error
    if not text:
        raise SettingsError(f"{setting}: {path} is empty")
    return text
