"""The local Kafka: starts, keeps its data, ends with whoever started it, and says what is in its way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from click.testing import CliRunner

from cxstream.cli import group
from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.connection import check
from cxstream.local import data, jars, java, ports
from cxstream.local.broker import LocalKafka
from cxstream.local.docker import DockerKafka
from cxstream.local.process import Guarded
from cxstream.model.errors import BrokerError
from cxstream.settings import Local, Settings
from cxstream.topology import TOPICS
from first_line import next_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be collected by its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def processes_of(group_id: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group_id and alive(int(entry.name)):
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")


# --- the whole broker


@pytest.mark.broker
def test_data_outlives_a_stop_and_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "dätä, with a comma"
    with LocalKafka(folder) as kafka:
        created = asyncio.run(ensure_topics(Settings(kafka=kafka.bootstrap), 2))
        assert len(created) == len(TOPICS)
        kafka.kill()
        assert not kafka.running
    assert not ports.accepts(kafka.port)
    with LocalKafka(folder) as kafka:
        assert asyncio.run(ensure_topics(Settings(kafka=kafka.bootstrap), 2)) == []
        with pytest.raises(BrokerError, match="a broker already runs on this folder"):
            LocalKafka(folder).start()
        with pytest.raises(BrokerError, match=rf"port {kafka.port} is taken.*--port"):
            LocalKafka(tmp_path / "other", port=kafka.port).start()
    assert not ports.accepts(kafka.port)
    assert (folder / "log" / ".kafka_cleanshutdown").exists()


@pytest.mark.broker
def test_a_port_that_another_process_took_first_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ports.free
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        taken = quicker.getsockname()[1]
        answers = iter([[free(1)[0], taken]])
        monkeypatch.setattr(ports, "free", lambda count: next(answers, None) or free(count))
        with LocalKafka() as kafka:
            assert asyncio.run(check(Settings(kafka=kafka.bootstrap))) == 1
        assert next(answers, None) is None


@linux
@pytest.mark.broker
def test_it_ends_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    program = (
        "from cxstream.local.broker import LocalKafka\n"
        "import time\n"
        "kafka = LocalKafka().start()\n"
        "print(kafka.bootstrap, kafka.pid, kafka.log, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    bootstrap, group_id, log = next_line(starter).split()
    assert asyncio.run(check(Settings(kafka=bootstrap))) == 1
    assert len(processes_of(int(group_id))) == 2
    starter.kill()
    starter.wait(60)
    starter.stdout.close()
    until(lambda: not processes_of(int(group_id)), "Kafka ends")
    assert not Path(log).parent.exists()


@pytest.mark.broker
def test_a_kafka_that_gives_up_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"(?s)Kafka ended; the last lines of .*kafka\.log:\n.*heap"):
        LocalKafka(tmp_path / "data", local=Local(heap="1m")).start()
    data.claim(tmp_path / "data").release()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "cxstream", "broker", "--data", str(tmp_path / "data"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.broker
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_command_says_when_it_is_ready_and_stops_on_a_signal(
    command: Callable[..., subprocess.Popen[str]], sent: signal.Signals, status: int
) -> None:
    process = command("--port", "0")
    assert process.stdout
    ready = next_line(process)
    assert ready.startswith("ready: localhost:"), process.communicate()
    bootstrap = ready.removeprefix("ready: ").strip()
    assert asyncio.run(check(Settings(kafka=bootstrap))) == 1
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert said == ""
    assert not ports.accepts(int(bootstrap.rpartition(":")[2]))


def test_command_says_that_its_port_is_taken(command: Callable[..., subprocess.Popen[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = command("--port", str(port))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.startswith(f"cxstream: port {port} is taken")
    assert len(said.splitlines()) == 1


# --- the data folder


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(BrokerError, match="not empty, and not the data folder of a local broker"):
        data.claim(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"file: cannot be used as a data folder: File exists"):
        data.claim(tmp_path / "file")


def test_a_folder_keeps_its_cluster_and_is_free_after_release(tmp_path: Path) -> None:
    first = data.claim(tmp_path / "data")
    with pytest.raises(BrokerError, match=rf"started by process {os.getpid()}"):
        data.claim(tmp_path / "data")
    first.release()
    second = data.claim(tmp_path / "data")
    assert second.cluster == first.cluster
    second.release()


def test_a_damaged_marker_is_named(tmp_path: Path) -> None:
    (tmp_path / data.MARKER).write_text("{")
    with pytest.raises(BrokerError, match=rf"{data.MARKER}: damaged"):
        data.claim(tmp_path)


# --- Java and the jars


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_packaged_java_is_new_enough() -> None:
    assert java.find().name.startswith("java")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2",
            r"is Java 11, Kafka 4 needs 17 or newer: pip install",
        ),
        ("echo hello", r"not a Java; '-version' says 'hello"),
        ("echo 'no libjvm.so' >&2; exit 1", r"Java does not run here: no libjvm\.so"),
    ],
)
def test_a_wrong_java_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        java.find(script(tmp_path / "java", text))


def test_a_java_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"nowhere: Java does not run here: .*No such file"):
        java.find(tmp_path / "nowhere")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_first_start_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    leftover = tmp_path / "kafka" / ".fetching-of-a-killed-process"
    leftover.mkdir(parents=True)
    with pytest.raises(BrokerError, match=r"Kafka 4\.1\.0 is not on this computer yet and cannot be fetched"):
        jars.ensure("4.1.0", tmp_path, said.append)
    assert [line for line in said if "getting Apache Kafka 4.1.0" in line]
    assert [entry.name for entry in (tmp_path / "kafka").iterdir()] == [".lock"]


def test_a_proxy_that_inspects_tls_is_not_taken_for_a_missing_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    monkeypatch.setattr(jars, "_artifacts", refuse)
    with pytest.raises(BrokerError, match=r"\(CERTIFICATE_VERIFY_FAILED\).* set REQUESTS_CA_BUNDLE"):
        jars.ensure("4.1.0", tmp_path, print)


@pytest.mark.broker
@pytest.mark.usefixtures("broker", "no_network")
def test_later_starts_need_no_network() -> None:
    said: list[str] = []
    place = jars.ensure(Local().kafka_version, jars.user_cache(), said.append)
    assert any(jar.name.startswith("kafka-clients") for jar in place.glob("*.jar"))
    assert said == []


JAR = b"PK a jar"


@pytest.fixture
def cached(tmp_path: Path) -> tuple[Path, Path]:
    """A cache with one jar, and the list of sums that it fits."""
    place = tmp_path / "kafka" / f"kafka_{jars.SCALA}-9.9.9"
    place.mkdir(parents=True)
    (place / "kafka.jar").write_bytes(JAR)
    sums = tmp_path / "sums"
    sums.write_text(f"{hashlib.sha256(JAR).hexdigest()}  kafka.jar\n")
    return place, sums


def test_jars_that_are_as_they_should_be_are_used(cached: tuple[Path, Path], tmp_path: Path) -> None:
    place, sums = cached
    assert jars.ensure("9.9.9", tmp_path, print, sums) == place


@pytest.mark.parametrize("spoil", ["altered", "missing", "added"])
def test_jars_that_somebody_has_altered_are_not_run(
    spoil: str, cached: tuple[Path, Path], tmp_path: Path
) -> None:
    place, sums = cached
    if spoil == "altered":
        (place / "kafka.jar").write_bytes(JAR + b"!")
    elif spoil == "missing":
        (place / "kafka.jar").unlink()
    else:
        (place / "more.jar").write_bytes(JAR)
    name = "more" if spoil == "added" else "kafka"
    with pytest.raises(BrokerError, match=rf"{name}\.jar: not the jars that cxstream was tested with"):
        jars.ensure("9.9.9", tmp_path, print, sums)


def test_what_a_repository_gives_out_must_be_what_was_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(_: str, repository: Path) -> list[Path]:
        repository.mkdir()
        jar = repository / "kafka.jar"
        with zipfile.ZipFile(jar, "w") as made:
            made.writestr("Evil.class", b"")
        return [jar]

    monkeypatch.setattr(jars, "_resolve", resolve)
    with pytest.raises(BrokerError, match=r"not the jars that cxstream was tested with"):
        jars.ensure("4.1.0", tmp_path, lambda _: None)
    assert [entry.name for entry in (tmp_path / "kafka").iterdir()] == [".lock"]


def test_a_version_without_sums_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"Kafka 9\.9\.9: the SHA-256 .* local\.kafka_sums"):
        jars.ensure("9.9.9", tmp_path, print)
    with pytest.raises(BrokerError, match=r"local\.kafka_sums: .*nowhere: no such file"):
        jars.ensure("9.9.9", tmp_path, print, tmp_path / "nowhere")
    (tmp_path / "sums").write_text("no sums\nat all, really\n")
    with pytest.raises(BrokerError, match=r"is no list as 'sha256sum"):
        jars.ensure("9.9.9", tmp_path, print, tmp_path / "sums")


def test_the_sums_of_the_default_version_are_here() -> None:
    expected = jars._expected(Local().kafka_version, None)
    assert f"kafka_{jars.SCALA}-{Local().kafka_version}.jar" in expected
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in expected.values())


# --- the guard


def guarded(tmp_path: Path, text: str, **options: float) -> Guarded:
    process = Guarded([script(tmp_path / "command", text)], tmp_path / "log", cwd=tmp_path, **options)  # type: ignore[arg-type]
    until(lambda: "started" in process.tail(), "the command starts")
    return process


@linux
def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = guarded(tmp_path, "trap '' TERM; echo started; while :; do sleep 0.1; done", grace=0.2)
    process.stop()
    assert process.status == 128 + signal.SIGKILL
    until(lambda: not processes_of(process.pid), "nothing is left")


def test_a_command_that_ends_by_itself_leaves_its_status_and_words(tmp_path: Path) -> None:
    process = guarded(tmp_path, "echo started; echo 'went wrong' >&2; exit 3")
    until(lambda: process.status is not None, "the command ends")
    assert process.status == 3
    assert process.tail() == "  started\n  went wrong"
    process.stop()
    process.kill()


# --- Docker


def test_docker_is_reachable_from_this_computer_alone() -> None:
    command = DockerKafka("some-volume", port=12345).run_command()
    assert "127.0.0.1:12345:9092" in command
    assert "some-volume:/var/lib/kafka/data" in command
    assert "--env=KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:12345" in command
    assert re.fullmatch(
        rf"apache/kafka:{re.escape(Local().kafka_version)}@sha256:[0-9a-f]{{64}}", command[-1]
    )


def test_no_docker_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(group, ["broker", "--docker"])
    assert isinstance(result.exception, BrokerError)
    assert "there is no 'docker' on this computer" in str(result.exception)


def test_what_docker_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path / "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(BrokerError, match="--docker: Cannot connect to the Docker daemon"):
        DockerKafka().start()
