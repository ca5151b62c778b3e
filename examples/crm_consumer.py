"""A CRM's side of cxstream: keep a ranked work list, act on signals once, and write back what was done.

    signals of a customer -> work list (latest state) -> task in the CRM -> action_taken event on cx.touchpoints

One SQLite file stands for the CRM's database. It has the work list, the tasks and the events to send, and how far
each partition has been read; each batch of signals changes them in one transaction. Therefore:

- A signal that is delivered again is known by its id, and ignored.
- A task and the event that reports it are created together. An event that was not sent before a crash is sent
  afterwards with the same id and time, so that cxstream counts it once.
- Offsets are committed to Kafka only after the actions they led to are written. A consumer whose file does not have
  a partition reads it from the start to rebuild the list, and does not act on what lies before the committed offset.
- Several consumers of one group that share the file share the work.

Requirements: Python 3.11 or later, aiokafka.
"""

# ruff: noqa: INP001, T201 - a program on its own, which prints

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import sqlite3
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    AuthenticationFailedError,
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE = """\
examples:
  python examples/crm_consumer.py --kafka localhost:9092 --store crm.sqlite
  python examples/crm_consumer.py --store crm.sqlite --list
  CRM_KAFKA_PASSWORD=... python examples/crm_consumer.py --kafka kafka-1:9093 --tls --ca-file ca.pem \\
      --sasl SCRAM-SHA-512 --user crm
"""
SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, subject TEXT);
CREATE TABLE IF NOT EXISTS work (
    subject TEXT PRIMARY KEY, place INTEGER, signal TEXT, change TEXT, level TEXT, probability REAL,
    value_at_risk REAL, action TEXT, why TEXT, due INTEGER);
CREATE TABLE IF NOT EXISTS tasks (
    action_id TEXT PRIMARY KEY, subject TEXT, place INTEGER, arm TEXT, event BLOB, sent INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS arms (subject TEXT PRIMARY KEY, arm TEXT);
CREATE TABLE IF NOT EXISTS positions (place INTEGER PRIMARY KEY, next INTEGER);
"""
# Customers with a known value come first; the others follow by probability.
RANKED = "ORDER BY value_at_risk DESC NULLS LAST, probability DESC, subject"
POLL_SECONDS = 0.5
BUSY_SECONDS = 5.0  # signals that never stop coming do not delay actions for longer


class CrmError(Exception):
    """What a person has to set right; the message says how."""


class Store:
    """The CRM's database. `place` is the number of a partition of the topic of signals.

    Args:
        path: the file; it is created, readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        try:
            # It names customers: for its owner alone. SQLite gives its journal the same rights.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self.db = sqlite3.connect(path, timeout=30)
            self.db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise CrmError(f"{path} cannot be used as a store: {error}") from error

    def next_offset(self, place: int) -> int:
        """The first offset that is not in the store."""
        found = self.db.execute("SELECT next FROM positions WHERE place = ?", (place,)).fetchone()
        return found[0] if found else 0

    def take(self, place: int, events: Iterable[dict[str, Any]], next_offset: int, *, act: bool) -> None:
        """Change the work list by signals of one partition, in order, and remember how far it was read.

        Args:
            place: the partition.
            events: churn-risk signals.
            next_offset: the offset after the last one.
            act: they have not been acted on, and are recent enough to be.
        """
        with self.db:
            for event in events:
                self._take_one(place, event, act=act)
            self.db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (place, next_offset))

    def _take_one(self, place: int, event: dict[str, Any], *, act: bool) -> None:
        subject, data = event["subject"], event["data"]
        if data["change"] == "erased":
            # The customer asked to be forgotten: that holds for the CRM, too.
            for table in ("work", "tasks", "seen", "arms"):
                self.db.execute(f"DELETE FROM {table} WHERE subject = ?", (subject,))  # noqa: S608
            return
        if not self.db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event["id"], subject)).rowcount:
            return
        held = self.db.execute("SELECT due FROM work WHERE subject = ?", (subject,)).fetchone()
        self.db.execute("DELETE FROM work WHERE subject = ?", (subject,))
        # Where the rules have an experiment, they say who is held out.
        self.db.execute("INSERT OR REPLACE INTO arms VALUES (?, ?)", (subject, data.get("arm")))
        if data["level"] == "none":  # cleared
            return
        # `eased` is good news, and no reason to act again; but who was not yet acted on is still to be.
        due = act and (data["change"] in ("raised", "worsened") or bool(held and held[0]))
        why = "; ".join(reason["evidence"] for reason in data["reasons"] if reason["contribution"] > 0)
        row = (subject, place, event["id"], data["change"], data["level"], data["probability"])
        more = (data.get("value_at_risk"), data.get("suggested_action") or "review", why, due)
        self.db.execute("INSERT INTO work VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *more))

    def open_tasks(self, places: Iterable[int], holdout: float) -> list[tuple[Any, ...]]:
        """Create a task, and the event that reports it, for each customer who is due, in order of rank.

        Returns:
            The new tasks: the customers' rows of the work list, and the arm of each.
        """
        mine = json.dumps(sorted(places))
        opened = []
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            due = self.db.execute(
                f"SELECT * FROM work WHERE due AND place IN (SELECT value FROM json_each(?)) {RANKED}",  # noqa: S608
                (mine,),
            ).fetchall()
            for row in due:
                subject, place, action_id, _, _, _, _, action, *_ = row
                (told,) = self.db.execute(
                    "SELECT max(arm) FROM arms WHERE subject = ?", (subject,)
                ).fetchone()
                arm = told or ("holdout" if share(subject) < holdout else "treated")
                event = json.dumps(action_taken(subject, action_id, action, arm))
                new = self.db.execute(
                    "INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, 0)",
                    (action_id, subject, place, arm, event),
                )
                self.db.execute("UPDATE work SET due = 0 WHERE subject = ?", (subject,))
                if new.rowcount:
                    opened.append((row, arm))
        return opened

    def unsent(self, places: Iterable[int]) -> list[tuple[str, str, str]]:
        """Action id, customer and event of tasks that have not been reported, in order of their creation."""
        return self.db.execute(
            "SELECT action_id, subject, event FROM tasks WHERE NOT sent"
            " AND place IN (SELECT value FROM json_each(?)) ORDER BY rowid",
            (json.dumps(sorted(places)),),
        ).fetchall()

    def reported(self, action_id: str) -> None:
        """Note that the event of a task is on Kafka."""
        with self.db:
            self.db.execute("UPDATE tasks SET sent = 1 WHERE action_id = ?", (action_id,))

    def work(self) -> list[tuple[Any, ...]]:
        """The work list, in order of rank."""
        return self.db.execute(f"SELECT * FROM work {RANKED}").fetchall()  # noqa: S608


def share(subject: str) -> float:
    """A number in [0, 1) that is always the same for a customer."""
    return int.from_bytes(hashlib.sha256(b"retention-1" + subject.encode()).digest()[:6]) / 2**48


def action_taken(subject: str, action_id: str, action: str, arm: str) -> dict[str, Any]:
    """The event that tells cxstream what was done; its id is that of the signal, so that it counts once."""
    return {
        "specversion": "1.0",
        "id": action_id,
        "source": "/crm",
        "type": "cx.touchpoint.action_taken.v1",
        "subject": subject,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": {"channel": "crm", "action": action, "arm": arm, "action_id": action_id},
    }


def read_signal(value: bytes | None) -> dict[str, Any] | None:
    """A churn-risk signal; None for another type of event.

    Raises:
        ValueError, KeyError, TypeError: it is not what the schema says.
    """
    event = json.loads(value or b"null")
    if event["type"] != "cx.signal.churn_risk.v1":
        return None
    data = event["data"]
    texts = [event["id"], event["subject"], data["change"]]
    if data["change"] != "erased":
        texts += [data["level"], *(reason["evidence"] for reason in data["reasons"])]
        _ = data["probability"] + sum(reason["contribution"] for reason in data["reasons"])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("id, subject, change, level and evidence are strings")
    return dict(event)


def printable(text: str) -> str:
    """Text of others, without control characters."""
    return "".join(each if each.isprintable() else "?" for each in text)


def line(row: tuple[Any, ...]) -> str:
    """One customer of the work list, for people."""
    subject, _, _, change, level, probability, value, action, why, _ = row
    worth = f", {value:,.2f} at risk" if value is not None else ""
    return printable(
        f"{subject}: {change}, {level}, {probability:.0%}{worth}; do {action}; because {why or '-'}"
    )


class Seldom(logging.Filter):
    """Lets a message through once in 30 s: clients try again many times a second.

    Attributes:
        started: before, a message is kept and not let through: `explain` says it.
        last: the last message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started, self.last = False, ""
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it."""
        self.last = record.getMessage()
        now = time.monotonic()
        due = self.started and now - self._said.get(record.msg, -60) > 30  # noqa: PLR2004
        if due:
            self._said[record.msg] = now
        return due


LOGGED = Seldom()


def say(text: str) -> None:
    """Print at once, whoever reads."""
    print(text, flush=True)


class Crm(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads signals, acts on them, and reports it.

    Args:
        options: of the command line.
        store: the CRM's database.
        security: arguments of Kafka clients.
    """

    def __init__(self, options: argparse.Namespace, store: Store, security: dict[str, Any]) -> None:
        self.options, self.store = options, store
        self.signals = options.prefix + "cx.churn-risk"
        self.touchpoints = options.prefix + "cx.touchpoints"
        self.consumer = AIOKafkaConsumer(
            **security,
            group_id=options.group,
            isolation_level="read_committed",  # results of aborted transactions are not results
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        # Kafka's default partitioner (murmur2) puts the event into the customer's partition.
        self.producer = AIOKafkaProducer(**security, enable_idempotence=True)
        self.busy = asyncio.Lock()
        self.acted_before: dict[TopicPartition, int] = {}
        self.acted_at = self.heard_at = time.monotonic()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what was begun, so that the next owner finds it committed."""
        async with self.busy:
            for each in revoked:
                self.acted_before.pop(each, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Go on where the store ends, or rebuild the list from the start."""
        for each in assigned:
            self.consumer.seek(each, self.store.next_offset(each.partition))

    async def run(self) -> None:
        """Work until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            for client in (self.consumer, self.producer):
                stack.push_async_callback(client.stop)
            try:
                await self.consumer.start()
            except ValueError as error:
                raise CrmError(f"--kafka is HOST:PORT[,...], not {self.options.kafka}: {error}") from error
            missing = {self.signals, self.touchpoints} - await self.consumer.topics()
            if missing:
                raise CrmError(
                    f"{', '.join(sorted(missing))}: no such topic, or this user may not see it; create topics with "
                    "'cxstream topics --create', and print rights with "
                    f"'cxstream topics --acls --role crm --group {self.options.group}'"
                )
            await self.producer.start()
            self.consumer.subscribe([self.signals], listener=self)
            LOGGED.started = True
            say(f"reading {self.signals} as group {self.options.group}")
            while True:
                await self.step()

    async def step(self) -> None:
        """Take what has come; act when nothing more comes."""
        fetched = await self.consumer.getmany(timeout_ms=round(POLL_SECONDS * 1000))
        async with self.busy:
            mine = self.consumer.assignment()
            for partition, records in fetched.items():
                if partition in mine:
                    await self.take(partition, records)
            now = time.monotonic()
            if fetched:
                self.heard_at = now
            if not fetched or now - self.acted_at > BUSY_SECONDS:
                self.acted_at = now
                await self.act(mine)
            if mine and now - self.heard_at > self.options.quiet_seconds:
                self.heard_at = now
                say(
                    f"waiting for signals: {len(mine)} partitions, {len(self.store.work())} customers on the list"
                )

    async def take(self, partition: TopicPartition, records: list[Any]) -> None:
        """Bring the work list up to date."""
        if partition not in self.acted_before:
            self.acted_before[partition] = await self.consumer.committed(partition) or 0
        oldest = (time.time() - self.options.max_age_days * 86400) * 1000
        begun = self.store.next_offset(partition.partition)
        if records[0].offset < begun:
            raise CrmError(
                f"{self.options.store} has read {partition.topic}-{partition.partition} up to offset {begun}, which "
                "that topic does not have: it was created again. Use another --store, or remove the file"
            )
        for record in records:
            act = record.offset >= self.acted_before[partition] and record.timestamp >= oldest
            try:
                event = read_signal(record.value)
            except (ValueError, KeyError, TypeError) as error:
                place = f"{record.topic}-{record.partition}, offset {record.offset}"
                print(f"crm: {place} is no signal and is passed over: {error!r}", file=sys.stderr, flush=True)
                event = None
            self.store.take(partition.partition, [event] if event else [], record.offset + 1, act=act)

    async def act(self, mine: Iterable[TopicPartition]) -> None:
        """Open tasks for whoever is due, report them, and only then commit."""
        places = {each.partition for each in mine}
        for row, arm in self.store.open_tasks(places, self.options.holdout):
            say(f"{arm} by {row[2]}: {line(row)}")
        for action_id, subject, event in self.store.unsent(places):
            await self.producer.send_and_wait(self.touchpoints, event.encode(), key=subject.encode())
            self.store.reported(action_id)
        read = {each: self.store.next_offset(each.partition) for each in mine}
        behind = {each: offset for each, offset in read.items() if offset > self.acted_before.get(each, 0)}
        if behind:
            with contextlib.suppress(CommitFailedError):  # a rebalance: whoever gets the partition commits
                await self.consumer.commit(behind)
                self.acted_before |= behind


def encrypts(options: argparse.Namespace) -> bool:
    """Whether connections are encrypted."""
    return bool(options.tls or options.ca_file or options.cert_file)


def security(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of Kafka clients: where Kafka is, and how to prove who this is.

    Raises:
        CrmError: options that do not go together, or files that cannot be read.
    """
    found: dict[str, Any] = {"bootstrap_servers": options.kafka, "client_id": "crm-example"}
    if encrypts(options):
        try:
            context = ssl.create_default_context(cafile=options.ca_file)
            if options.cert_file:
                context.load_cert_chain(options.cert_file, options.key_file)
        except (OSError, ssl.SSLError) as error:
            files = [each for each in (options.ca_file, options.cert_file, options.key_file) if each]
            raise CrmError(f"a certificate or key of {', '.join(files)} cannot be used: {error}") from error
        found["ssl_context"] = context
    if options.sasl:
        password = os.environ.get("CRM_KAFKA_PASSWORD", "")
        if options.password_file:
            try:
                password = Path(options.password_file).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise CrmError(f"--password-file cannot be read: {error}") from error
        if not options.user or not password:
            raise CrmError("--sasl needs --user, and CRM_KAFKA_PASSWORD or --password-file")
        found |= {"sasl_mechanism": options.sasl, "sasl_plain_username": options.user}
        found["sasl_plain_password"] = password
    found["security_protocol"] = ("SASL_" if options.sasl else "") + (
        "SSL" if encrypts(options) else "PLAINTEXT"
    )
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    # fmt: off
    add("--kafka", default="localhost:9092", metavar="HOST:PORT[,...]", help="default: %(default)s")
    add("--group", default="crm-example", help="consumer group; default: %(default)s")
    add("--store", default=Path("crm.sqlite"), type=Path, metavar="FILE", help="default: %(default)s")
    add("--prefix", default="", help="what the names of the topics begin with; default: nothing")
    add("--list", action="store_true", help="print the work list of the store and end")
    add("--holdout", default=0.0, type=float, metavar="SHARE",
        help="share of customers who are not acted on, to measure what acting does, where signals have no arm;"
        " 0..1, default: %(default)s")
    add("--max-age-days", default=7.0, type=float, metavar="DAYS",
        help="signals written to Kafka earlier are listed, and not acted on; default: %(default)s")
    add("--quiet-seconds", default=30.0, type=float, metavar="SECONDS",
        help="say that it waits when nothing has come for so long; default: %(default)s")
    add("--tls", action="store_true", help="encrypt, with the system's authorities or --ca-file")
    add("--ca-file", metavar="FILE", help="authorities that sign the brokers' certificates (PEM)")
    add("--cert-file", metavar="FILE", help="certificate of this client (PEM)")
    add("--key-file", metavar="FILE", help="its key, where it is not in --cert-file")
    add("--sasl", choices=["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], help="how to log in")
    add("--user", help="user name for --sasl; the password is in CRM_KAFKA_PASSWORD or --password-file")
    add("--password-file", metavar="FILE")
    # fmt: on
    return parser.parse_args(arguments)


async def work(options: argparse.Namespace) -> None:
    """Run until SIGINT or SIGTERM."""
    store = Store(options.store)
    with contextlib.closing(store.db):
        if options.list:
            work_list = store.work()
            for number, row in enumerate(work_list, 1):
                say(f"{number:3}. {line(row)}{' (to do)' if row[-1] else ''}")
            if not work_list:
                say(f"no customer is on the work list of {options.store}")
            return
        running = asyncio.create_task(Crm(options, store, security(options)).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running
        say(f"stopped; {len(store.work())} customers on the work list")


def likely(options: argparse.Namespace) -> str:
    """Why Kafka cannot be reached, most likely; "" where the reason is said."""
    why = LOGGED.last.rstrip()
    if "UnsupportedSaslMechanism" in why:
        return f": that port does not know --sasl {options.sasl}"
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return ": --ca-file must be of who signed the broker's certificate, and that must name the host"
    if not why.endswith((":", "closed", "reset by peer")):
        return ""
    if not encrypts(options):
        return ": that port probably speaks TLS"
    # A broker that speaks no TLS hangs up at the first bytes, and aiokafka gives no reason.
    established = why.endswith("closed")
    return f": that port probably {'wants a client certificate (--cert-file)' if established else 'speaks no TLS'}"


def explain(error: KafkaError, options: argparse.Namespace) -> str:
    """What a person can do about an error of Kafka."""
    if isinstance(error, (GroupAuthorizationFailedError, TopicAuthorizationFailedError)):
        return f"not allowed: {error}; 'cxstream topics --acls --role crm --group {options.group}' prints the rights"
    if isinstance(error, AuthenticationFailedError):
        return f"Kafka refuses this user: {error}; look at --sasl, --user and the password"
    if "uthentication" in LOGGED.last:
        return f"Kafka refuses this user: {LOGGED.last}; look at --sasl, --user and the password"
    why = (LOGGED.last or str(error)).rstrip(": ")
    return f"Kafka at {options.kafka}: {why}{likely(options)}; look at --kafka, --tls and --sasl, then start again: nothing is lost"


def main() -> int:
    """Run; the exit status."""
    options = parse()
    logging.basicConfig(format="crm: %(message)s", level=logging.ERROR)
    logging.getLogger().handlers[0].addFilter(LOGGED)
    try:
        asyncio.run(work(options))
    except CrmError as error:
        print(f"crm: {error}", file=sys.stderr)
        return 1
    except KafkaError as error:
        print(f"crm: {explain(error, options)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
