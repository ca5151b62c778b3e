"""The worker's servers under attack: slow clients, floods, strangers' names, quoted paths. No Kafka is needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import stat
import threading
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from cxstream.model.errors import SettingsError
from cxstream.settings import Settings, Worker
from cxstream.worker.telemetry.metrics_server import MetricsServer
from cxstream.worker.web import connection_limit
from cxstream.worker.web.access import host_of, require_host, require_right
from cxstream.worker.web.connection_limit import LimitedServer, one_request, runner
from cxstream.worker_client import local_socket
from cxstream.worker_client.http import get_private
from workers import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SECRET = "a customer's name"
TOKEN = "0123456789abcdef"
LONG = 30.0


@pytest.fixture(autouse=True)
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of this test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@asynccontextmanager
async def served(
    *, token: str | None = None, hosts: tuple[str, ...] = (), unix: Path | None = None, **limits: Any
) -> AsyncIterator[int]:
    """Pages like the worker's; the port."""
    app = web.Application(middlewares=[one_request, require_host(hosts), require_right(token)])

    async def page(_: web.Request) -> web.Response:
        return web.json_response({"page": "yes"})

    async def fail(request: web.Request) -> web.Response:
        raise ValueError(request.match_info["id"])

    for path in ("/livez", "/readyz", "/customers/{id:.+}"):
        app.router.add_get(path, page)
    app.router.add_get("/broken/{id:.+}", fail)
    serving = runner(app)
    await serving.setup()
    server = LimitedServer(serving, **limits)
    listening = await server.listen(host="127.0.0.1", port=0)
    if unix:
        await server.listen(sock=local_socket.serve(unix, own_folder=True))
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        await server.close()
        await serving.cleanup()


async def asked(port: int, path: str = "/livez", **headers: str) -> int:
    """The status of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer,
    ):
        return answer.status


async def raw(port: int, data: bytes) -> bytes:
    """What comes back for these bytes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(LONG):
            return await reader.read()
    finally:
        writer.close()


# --- connections


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-", b"POST /livez HTTP/1.1\r\n"],
)
async def test_a_client_that_never_ends_its_request_is_cut(
    beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limit, "_LOOK_SECONDS", 0.05)
    async with served(seconds=0.5) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(LONG):
                # Byte by byte, so that a limit on silence never strikes.
                more = [bytes([each]) for each in beginning]
                while not reader.at_eof():
                    if beginning:
                        writer.write(more.pop(0) if more else b"a")
                        await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        assert await asyncio.wait_for(reader.read(1), 0.05) == b""
        writer.close()


async def test_a_body_that_never_ends_is_not_waited_for() -> None:
    async with served() as port:
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
        said = await raw(port, head + b"x" * 100)
        assert said.startswith(b"HTTP/1.1 200 ")


async def test_a_probe_is_answered_while_a_flood_holds_every_connection() -> None:
    limit = 8
    async with served(connections=limit, seconds=3600.0) as port:
        flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5 * limit)]
        for _, writer in flood:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert [await asked(port) for _ in range(3 * limit)] == [200] * (3 * limit)
        for _, writer in flood:
            writer.close()


async def test_no_more_connections_are_open_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 4
    monkeypatch.setattr(connection_limit, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(connection_limit, "_SETTLED_SECONDS", 0.05)
    open_at_once: list[int] = []
    made = connection_limit.LimitedServer._admit

    def counting(self: LimitedServer) -> Any:
        handler = made(self)
        open_at_once.append(len(self._since))
        return handler

    monkeypatch.setattr(connection_limit.LimitedServer, "_admit", counting)
    async with served(connections=limit, seconds=3600.0) as port:
        flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10 * limit)]
        await until(
            lambda: asyncio.sleep(0, len(open_at_once) == 10 * limit), LONG, lambda: str(open_at_once)
        )

        async def cut() -> bool:
            still = 0
            for reader, _ in flood:
                try:
                    async with asyncio.timeout(0.01):
                        await reader.read()
                except TimeoutError:
                    still += 1
                except ConnectionError:
                    pass
            return still <= limit

        await until(cut, LONG, lambda: "more are open")
        for _, writer in flood:
            writer.close()
    assert max(open_at_once) <= limit


async def test_a_connection_has_one_request() -> None:
    async with served() as port:
        request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        said = await raw(port, request * 1000)
        assert said.count(b"HTTP/1.1 ") == 1


async def test_headers_are_bounded() -> None:
    async with served() as port:
        many = b"".join(b"X-%d: a\r\n" % n for n in range(10_000))
        for head in (b"X: " + b"a" * 100_000 + b"\r\n", many):
            with contextlib.suppress(ConnectionError):
                said = await raw(port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")
                assert b" 200 " not in said


# --- the log


@pytest.mark.parametrize(
    "request_line",
    [
        f"GET /broken/{SECRET.replace(' ', '%20')} HTTP/1.1",
        f"GET /customers/{SECRET} HTTP/1.1",
        f"GET /customers/{SECRET} HTTP/9.9x",
        f"{SECRET}",
        f"GET /customers/{SECRET}\x00\x1b[2J HTTP/1.1",
        f"GET /customers/x HTTP/1.1\r\nX-Id {SECRET}",
        f"GET /customers/x HTTP/1.1\r\nContent-Length: {SECRET}",
    ],
)
async def test_no_request_gets_into_the_log(request_line: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served() as port:
        with contextlib.suppress(ConnectionError):
            await raw(port, f"{request_line}\r\nHost: localhost\r\n\r\n".encode())
    said = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for part in ("customer's", "a%20customer", "customers/"):
        assert part not in said


# --- the Host


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LocalHost.:6066", "localhost"),
        ("127.0.0.1:6066", "127.0.0.1"),
        ("[::1]:6066", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[fe80::1%eth0]:1", "fe80::1"),
        ("evil.example:6066", "evil.example"),
        ("localhost:evil.example", ""),
        ("localhost:1@evil.example", ""),
        ("[::1", ""),
        ("[::1]evil.example", ""),
        ("::1", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_name_in_a_host_header(header: str | None, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/customers/anna", "/nowhere"])
async def test_a_strangers_name_gets_no_answer(path: str) -> None:
    async with served(token=TOKEN, hosts=("Pod-1.example", "fd00::7")) as port:
        authority = {"Authorization": f"Bearer {TOKEN}"}
        for host in ("evil.example", "evil.example:6066", "10.1.2.3", "localhost.evil.example", "0.0.0.0"):
            assert await asked(port, path, Host=host, **authority) == 421
        for host in ("localhost", f"127.0.0.1:{port}", "[::1]:1", "pod-1.example:6066", "[fd00::7]:6066"):
            assert await asked(port, path, Host=host, **authority) == (404 if path == "/nowhere" else 200)
        assert (await raw(port, f"GET {path} HTTP/1.0\r\n\r\n".encode())).startswith(b"HTTP/1.0 421 ")


async def test_a_probe_that_calls_the_pod_by_its_address_is_answered() -> None:
    """Kubernetes has the pod's address as the Host: the one that the connection comes to."""
    app = web.Application(middlewares=[require_host(())])

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=str(request.transport.get_extra_info("sockname")[0]))

    app.router.add_get("/livez", page)
    serving = runner(app)
    await serving.setup()
    site = web.TCPSite(serving, "0.0.0.0", 0)
    await site.start()
    port = serving.addresses[0][1]
    try:
        own = own_address()
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{own}:{port}/livez") as answer:
                assert (answer.status, await answer.text()) == (200, own)
            # Another address is none that a probe of this pod has.
            async with session.get(f"http://{own}:{port}/livez", headers={"Host": "10.255.255.1"}) as no:
                assert no.status == 421
    finally:
        await serving.cleanup()


def own_address() -> str:
    """An address of this computer that is not loopback, if there is one."""
    found = [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    return next((each for each in found if not each.startswith("127.")), "127.0.0.1")


# --- who may see customers


async def test_nobody_on_this_computer_sees_customers_without_the_token() -> None:
    async with served() as port:
        assert [await asked(port, path) for path in ("/livez", "/customers/anna")] == [200, 403]
    async with served(token=TOKEN) as port:
        wrong = ["", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"]
        assert {await asked(port, "/customers/anna", Authorization=each) for each in wrong} == {401}
        assert {
            await asked(port, "/customers/anna", Authorization=each)
            for each in (f"Bearer {TOKEN}", f"bearer  {TOKEN} ")
        } == {200}
        assert await asked(port, "/livez") == 200


async def test_the_unix_socket_is_for_this_user_alone_and_needs_no_token(runtime_folder: Path) -> None:
    path = local_socket.place(6066)
    async with served(token=TOKEN, unix=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.parent.parent == runtime_folder
        found = await asyncio.to_thread(get_private, Worker(), "http://localhost:6066", "/customers/a%2Fb")
        assert found == (200, {"page": "yes"})


async def test_the_token_opens_the_page_where_there_is_no_socket(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    async with served(token=TOKEN) as port:
        address = f"http://127.0.0.1:{port}"
        assert (await asyncio.to_thread(get_private, Worker(), address, "/customers/a"))[0] == 401
        given = Worker(web_token_file=file)
        assert (await asyncio.to_thread(get_private, given, address, "/customers/a"))[0] == 200


def test_the_token_is_not_sent_over_the_network_in_plain_text() -> None:
    with pytest.raises(SettingsError, match=r"not sent to 192\.0\.2\.1 in plain text"):
        get_private(Worker(web_token=TOKEN), "http://192.0.2.1:6066", "/customers/a")


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    followed: list[str] = []
    app = web.Application()

    async def away(request: web.Request) -> web.Response:
        followed.append(request.path)
        raise web.HTTPFound(f"http://127.0.0.1:{port}/elsewhere")

    app.router.add_get("/{any:.*}", away)
    serving = web.AppRunner(app)
    await serving.setup()
    site = web.TCPSite(serving, "127.0.0.1", 0)
    await site.start()
    port = serving.addresses[0][1]
    with pytest.raises(ValueError, match="status 302"):
        await asyncio.to_thread(
            get_private, Worker(web_token=TOKEN), f"http://127.0.0.1:{port}", "/customers/a"
        )
    await serving.cleanup()
    assert followed == ["/customers/a"]


def test_a_folder_that_a_stranger_could_enter_is_not_used(runtime_folder: Path) -> None:
    folder = local_socket.place(1).parent
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="this user alone"):
        local_socket.serve(local_socket.place(1), own_folder=True)
    with pytest.raises(PermissionError, match="this user alone"):
        local_socket.connect(local_socket.place(1), 1, own_folder=True)
    folder.rmdir()
    (runtime_folder / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(runtime_folder / "elsewhere")
    with pytest.raises(PermissionError, match="this user alone"):
        local_socket.serve(local_socket.place(1), own_folder=True)


def test_a_socket_that_is_left_over_is_replaced_and_one_in_use_is_not() -> None:
    path = local_socket.place(1)
    first = local_socket.serve(path, own_folder=True)
    with pytest.raises(OSError, match="another worker listens"):
        local_socket.serve(path, own_folder=True)
    first.close()
    assert path.is_socket()
    local_socket.serve(path, own_folder=True).close()


def test_the_token_is_long_enough_and_in_no_representation(tmp_path: Path) -> None:
    settings = Settings(worker={"web_token": TOKEN})
    assert TOKEN not in f"{settings!r} {settings.model_dump_json()}"
    with pytest.raises(ValueError, match="web_token"):
        Settings(worker={"web_token": "short"})


# --- metrics


@pytest.fixture
def metrics() -> Iterator[int]:
    """A metrics server; its port."""
    registry = CollectorRegistry()
    Counter("pages", "Pages.", registry=registry).inc(3)
    Counter("others", "Others.", registry=registry).inc()
    server = MetricsServer(registry, ())
    yield server.start("127.0.0.1", 0)
    server.stop()


def test_metrics_are_served_in_every_form(metrics: int) -> None:
    def fetch(path: str, **headers: str) -> tuple[str, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{metrics}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            assert answer.headers["Connection"] == "close"
            return answer.headers["Content-Type"], answer.read()

    kind, text = fetch("/metrics")
    assert kind.startswith("text/plain; version=")
    assert b"pages_total 3.0" in text
    kind, text = fetch("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert b"others" not in fetch("/metrics?name[]=pages_total")[1]
    assert fetch("/metrics", **{"Accept-Encoding": "gzip"})[1][:2] == b"\x1f\x8b"
    with pytest.raises(urllib.error.HTTPError, match="421"):
        fetch("/metrics", Host="evil.example")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch("/")


async def test_a_flood_takes_neither_threads_nor_the_metrics(metrics: int) -> None:
    before = threading.active_count()
    flood = [await asyncio.open_connection("127.0.0.1", metrics) for _ in range(200)]
    for _, writer in flood:
        writer.write(b"GET /metrics HT")
    assert await asked(metrics, "/metrics") == 200
    assert threading.active_count() <= before + 1
    for _, writer in flood:
        writer.close()
