"""Which settings file is read: one that was named, else the user's own; never one that merely lies about.

1. `--config FILE`
2. `$CXSTREAM_CONFIG`
3. `$XDG_CONFIG_HOME/cxstream/cxstream.toml`, by default `~/.config/cxstream/cxstream.toml`

A file in the current folder is not read: a folder comes from anywhere (an archive, a clone, a share), and its
settings file could send the password of the environment to a stranger's Kafka.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

from cxstream.model.errors import SettingsError

NAME = "cxstream.toml"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_noticed = False


def own() -> Path | None:
    """Where the user's own settings file is or would be; None where the environment names no home folder."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification: a relative path is ignored. One would depend on the current folder.
    folder = Path(given) if given and Path(given).is_absolute() else None
    if folder is None:
        home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
        if not home.is_absolute():
            return None
        folder = home / ".config"
    return folder / "cxstream" / NAME


def find(config: str | os.PathLike[str] | None = None) -> Path | None:
    """The settings file that is read; None where there is none.

    Args:
        config: the file that the command line names.

    Raises:
        SettingsError: the file that is named is missing.
    """
    named = config or os.environ.get("CXSTREAM_CONFIG")
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(f"{path}: no such settings file")
        return path
    path_of_user = own()
    # As for `is_file`, what cannot be looked at is not there.
    return path_of_user if path_of_user is not None and path_of_user.is_file() else None


def read(path: Path) -> dict[str, Any]:
    """The tables of a settings file.

    The user's own file is found without being named, so it must be theirs: owned by them or root, and writable by
    nobody else, like its folder.

    Raises:
        SettingsError: it cannot be read or is no TOML, or others can write the user's own file.
    """
    try:
        with path.open("rb") as file:
            if path == own():
                _require_private(path.parent, path.parent.stat())
                # Of the open file: what is checked is what is read.
                _require_private(path, os.fstat(file.fileno()))
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from error


def _require_private(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise SettingsError(
            f"{path}: not read, as it belongs to another user (uid {found.st_uid}): take it over with chown, "
            f"or name a settings file with --config or CXSTREAM_CONFIG"
        )
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise SettingsError(
            f"{path}: not read, as others can write it: run 'chmod go-w {path}', "
            f"or name a settings file with --config or CXSTREAM_CONFIG"
        )


def notice_unused(used: Path | None) -> None:
    """Say once, in one line on standard error, that the current folder has a settings file which is not read.

    Args:
        used: the file that is read. Where the caller of the program named it, they know, and nothing is said.
    """
    global _noticed  # noqa: PLW0603 - once a process
    named = used is not None and used != own()
    if named or _noticed or not Path(NAME).is_file() or (used is not None and used.samefile(NAME)):
        return
    _noticed = True
    sys.stderr.write(
        f"cxstream: {NAME} in the current folder is not read: "
        f"name it with --config {NAME} or CXSTREAM_CONFIG, or move it to {own()}\n"
    )
