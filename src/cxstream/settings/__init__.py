"""Settings: with `settings_file`, the only reader of the environment.

Order, the first that speaks wins: command-line options, `CXSTREAM_*` variables, the TOML file, defaults.
Nested settings use two underscores: `CXSTREAM_WORKER__FLUSH_SECONDS=0.5`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cxstream.model.errors import SettingsError
from cxstream.model.features import FEATURES, SPECS
from cxstream.model.parameters import ScoringParams, implied
from cxstream.scoring.codec.pseudonym import MIN_KEY_BYTES, Pseudonyms
from cxstream.scoring.codec.signatures import MIN_KEY_BYTES as MIN_CONTROL_KEY_BYTES
from cxstream.scoring.codec.signatures import Authority, derived
from cxstream.settings import file as settings_file
from cxstream.settings.secrets import secret
from cxstream.settings.skips import parse as parse_skip
from cxstream.topology import Topology, topology

if TYPE_CHECKING:
    import os

    from pydantic.fields import FieldInfo

    from cxstream.model.rules import Rules

ACTIONS: dict[str, str] = {name: spec.action for name, spec in SPECS.items()}
# The consumer group of the workers, after the prefix of the topics; a group that is set replaces it as a whole.
DEFAULT_GROUP = "cxstream"


class _Section(BaseModel):
    # What is wrong may be a secret.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Security(_Section):
    """Security of the connection to Kafka."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka's security.protocol."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="Kafka's sasl.mechanism."
    )
    plaintext_credentials: bool = Field(
        False,
        description="Send the password of PLAIN, or the token of OAUTHBEARER, over SASL_PLAINTEXT to other computers "
        "too, where anybody in the network can read it.",
    )
    username: str | None = Field(None, description="SASL user.")
    password: SecretStr | None = Field(None, description="SASL password; never logged.")
    password_file: Path | None = Field(None, description="... or the file that it is in.")
    ca_file: Path | None = Field(None, description="PEM file with the CAs to trust; the system's by default.")
    cert_file: Path | None = Field(None, description="PEM file with the client certificate, for mutual TLS.")
    key_file: Path | None = Field(None, description="PEM file with the client key, for mutual TLS.")
    key_password: SecretStr | None = Field(
        None, description="Passphrase of an encrypted key_file; never logged."
    )
    key_password_file: Path | None = Field(None, description="... or the file that it is in.")
    token_file: Path | None = Field(
        None, description="OAUTHBEARER: file with the token, read again for each connection."
    )
    token_url: str | None = Field(
        None,
        # In the clear only to this computer.
        pattern=r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])[^@\s]+$",
        description="OAUTHBEARER: https endpoint for tokens, by client credentials (RFC 6749, 4.4).",
    )
    client_id: str | None = Field(None, description="... as this client.")
    client_secret: SecretStr | None = Field(None, description="... with this secret; never logged.")
    client_secret_file: Path | None = Field(None, description="... or the file that it is in.")
    scope: str | None = Field(None, description="... for this scope, if the endpoint requires one.")


class Topics(_Section):
    """The topics."""

    prefix: str = Field(
        "",
        max_length=100,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="Prefix of all topic names, so that several installations can share one Kafka: with `eu.` the "
        "touchpoints are in `eu.cx.touchpoints`. The default group and the client id get the prefix, "
        "too.",
    )


class Worker(_Section):
    """The Faust worker."""

    group: str = Field(
        DEFAULT_GROUP,
        min_length=1,
        description="Consumer group, and prefix of the transactional ids. The default begins with topics.prefix.",
    )
    flush_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="How often results and their source offset are committed, in seconds.",
    )
    flush_records: int = Field(
        200_000, ge=1, description="... or after this many records of a partition, whichever comes first."
    )
    flush_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="... or after this many bytes of signals and rejected records."
    )
    snapshot_seconds: float = Field(
        15.0, gt=0, description="How often changed state is saved to cx.snapshots, in seconds."
    )
    cards_per_flush: int = Field(
        20_000,
        ge=1,
        description="Score cards written for each partition and flush, but at most each half second; the rest follow.",
    )
    queue_batches: int = Field(
        4, ge=1, description="Fetched batches that may wait for each partition before fetching pauses."
    )
    fetch_bytes: int = Field(
        4 * 1024 * 1024,
        ge=1024,
        description="Maximum bytes of one partition in one fetch (max.partition.fetch.bytes).",
    )
    memory_mib: int | None = Field(
        None,
        ge=64,
        description="Memory limit of the worker, in MiB; by default 80% of the container's memory, or of the "
        "computer's. It also limits how much the worker fetches ahead. If it is too little for a "
        "worker without customers, the worker does not start.",
    )
    max_batch_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Maximum bytes of a decompressed record batch, in which a record counts as at least 128; the "
        "records beyond are rejected as too_large, by one reference. It limits time, not memory: a "
        "batch is decompressed piece by piece.",
    )
    session_seconds: float = Field(
        30.0,
        ge=6,
        description="Time without a heartbeat after which the group assigns a worker's partitions to others, in "
        "seconds.",
    )
    request_seconds: float = Field(
        40.0, ge=1, description="How long a request to Kafka may take, in seconds."
    )
    stalled_seconds: float = Field(
        60.0,
        gt=0,
        description="A partition that has work and makes no progress for this time is reported as stalled, in "
        "seconds.",
    )
    standby: bool = Field(
        False,
        description="Keep standby replicas of the partitions that other workers own, for a quick take-over.",
    )
    lost_records: Literal["refuse", "accept"] = Field(
        "refuse",
        description="If records that were not read yet, or that are needed to rebuild a state, are no longer in "
        "the log: refuse to continue with the partition, or accept the loss and continue with the "
        "remaining records.",
    )
    unsigned_snapshots: Literal["refuse", "accept"] = Field(
        "refuse",
        description="If control.key is set and saved state has no checksum under it, because it was saved before "
        "the key was set: refuse it and rebuild the state from the log, or accept it and save it "
        "again under the key.",
    )
    scored: bool = Field(
        True,
        description="Write each accepted touchpoint with what it counted for to cx.scored, for the warehouse and "
        "other analyses. While it is off, these touchpoints are missing there for good.",
    )
    skip: tuple[str, ...] = Field(
        (),
        description="Records of cx.touchpoints to reject as `skipped` without processing them: PARTITION:OFFSET "
        "or PARTITION:FIRST-LAST. It has no effect on records that were processed already.",
    )
    stop_seconds: float = Field(10.0, gt=0, description="How long a graceful stop may take, in seconds.")
    ticker: bool = Field(
        True, description="Write cx.tick.v1 to owned partitions that have been read to their end."
    )
    tick_seconds: float = Field(60.0, gt=0, description="Interval of ticks, in seconds.")
    web: bool = Field(True, description="Faust's web server.")
    web_host: str = Field("127.0.0.1", description="Address of the web server.")
    web_port: int = Field(6066, ge=0, le=65535, description="Port of the web server; 0 takes a free one.")
    web_hosts: tuple[str, ...] = Field(
        (),
        description="Host names and addresses that the web and metrics servers accept, in addition to localhost "
        "and the address of the connection; any other Host header is refused.",
    )
    web_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token for `/customers/ID` over the network (Authorization: Bearer TOKEN); never logged.",
    )
    web_token_file: Path | None = Field(None, description="... or the file that it is in.")
    web_socket: Path | None = Field(
        None,
        description="Unix socket that answers all requests of the worker's own user; by default in the user's "
        "runtime folder.",
    )
    metrics: bool = Field(True, description="Serve /metrics for Prometheus on a separate port.")
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics server.")
    metrics_port: int = Field(
        9464, ge=0, le=65535, description="Port of the metrics server; 0 takes a free one."
    )
    metrics_sources: int = Field(
        50,
        ge=1,
        le=1000,
        description="Event sources with their own label value in metrics; the others are `other`.",
    )

    @field_validator("skip")
    @classmethod
    def _places(cls, skip: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what names no records."""
        for each in skip:
            parse_skip(each)
        return skip


class Privacy(_Section):
    """Pseudonyms instead of customer ids."""

    key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key of the pseudonyms. With it, customer ids are replaced by their HMAC-SHA-256 in all "
        "output, and rejected records are referenced, not copied; never logged.",
    )
    key_file: Path | None = Field(None, description="File with the key, instead of the key itself.")

    def pseudonyms(self) -> Pseudonyms | None:
        """The pseudonyms; None where there is no key.

        Raises:
            SettingsError: the file cannot be read, or the key is too short, or there are two.
        """
        if self.key_file is None:
            return Pseudonyms(self.key.get_secret_value().encode()) if self.key else None
        if self.key is not None:
            raise SettingsError("privacy.key and privacy.key_file: give one of them, not both")
        try:
            key = self.key_file.read_bytes().strip()
        except OSError as error:
            raise SettingsError(
                f"privacy.key_file: {self.key_file}: {error.strerror}: name a file that can be read"
            ) from error
        if len(key) < MIN_KEY_BYTES:
            raise SettingsError(
                f"privacy.key_file: {self.key_file} has {len(key)} bytes: a key has at least {MIN_KEY_BYTES}"
            )
        return Pseudonyms(key)


class Control(_Section):
    """Who may steer the workers by records of the log: see `cxstream.scoring.codec.signatures`."""

    key: SecretStr | None = Field(
        None,
        min_length=MIN_CONTROL_KEY_BYTES,
        description="Key of the signatures of control records (ticks, rules, erasure requests); with it, records without "
        "a valid signature are rejected as `forged`; never logged.",
    )
    key_file: Path | None = Field(
        None, description="... or the file that it is in; `cxstream keys init` creates one."
    )
    previous_key: SecretStr | None = Field(
        None,
        min_length=MIN_CONTROL_KEY_BYTES,
        description="Another key whose signatures are valid: the previous key, or the next one until all workers "
        "have it; never logged.",
    )
    previous_key_file: Path | None = Field(None, description="... or the file with such keys, one a line.")
    unsigned_until: AwareDatetime | None = Field(
        None,
        description="Control records that were appended to cx.touchpoints before this time (RFC 3339 with an "
        "offset) need no signature: the time when the key was introduced. It has no effect on files.",
    )

    def keys(self) -> tuple[bytes, ...]:
        """The keys that are valid, the one that signs first; none where no key is set.

        Raises:
            SettingsError: a file cannot be read, a key is too short or given twice, or only a previous one is there.
        """
        current, previous = secret(self, "key", "control"), secret(self, "previous_key", "control")
        if current is None:
            if previous is not None:
                raise SettingsError(
                    "control.previous_key: given without a control.key, which is what signs; set control.key_file too"
                )
            return ()
        if "\n" in current:
            raise SettingsError(
                "control.key: has several lines; a key is one line, and those before it belong in "
                "control.previous_key_file"
            )
        older = [line.rstrip("\r") for line in (previous or "").split("\n") if line.rstrip("\r")]
        for name, key in [("key", current), *(("previous_key", key) for key in older)]:
            if len(key.encode()) < MIN_CONTROL_KEY_BYTES:
                raise SettingsError(
                    f"control.{name}: a key of {len(key.encode())} bytes: it has at least {MIN_CONTROL_KEY_BYTES}; "
                    "make one with 'cxstream keys init FILE'"
                )
        return tuple(dict.fromkeys(key.encode() for key in [current, *older]))

    def authority(self) -> Authority | None:
        """What signs and checks control records; None where no key is set.

        Raises:
            SettingsError: as `keys`.
        """
        keys, until = self.keys(), self.unsigned_until
        return Authority(keys, round(until.timestamp() * 1000) if until else None) if keys else None


class Replay(_Section):
    """Scoring of files."""

    batch_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="Input read and scored at a time, in bytes."
    )


class Warehouse(_Section):
    """The read model in a DuckDB file."""

    path: Path = Field(
        Path("warehouse.duckdb"),
        description="The file. It is readable by its owner only.",
    )
    memory_mib: int = Field(
        2048,
        ge=256,
        description="Memory limit of DuckDB, in MiB. The process that takes touchpoints in keeps about 60 bytes a customer besides.",
    )
    threads: int = Field(2, ge=1, le=256, description="Threads of DuckDB.")
    keep_days: int = Field(
        400,
        ge=1,
        description="Touchpoints, signals and counts of earlier days are deleted; days are in UTC, today is one of them.",
    )
    flush_seconds: float = Field(
        5.0, gt=0, le=600, description="How often `warehouse follow` commits what it has read, in seconds."
    )
    flush_rows: int = Field(
        400_000,
        ge=1,
        description="... or after this many touchpoints, whichever comes first. A transaction inserts with n of "
        "`warehouse.threads` only from n x 122,880 touchpoints on.",
    )
    compact_hours: float = Field(
        24.0,
        gt=0,
        description="A file from which customers were erased is rewritten after this time at the latest, in hours, so that "
        "nothing of them is left in unused blocks.",
    )
    publish_minutes: float | None = Field(
        None,
        gt=0,
        description="`warehouse follow` makes a copy for readers, FILE.copy, when it is up to date and at this interval, in "
        "minutes; by default only on SIGUSR1.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which `warehouse follow` serves metrics; 0 takes a free one, by default there are none.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address on which it does; worker.web_hosts are accepted as names.",
    )
    prediction_minutes: float | None = Field(
        60.0,
        gt=0,
        description="How often `warehouse follow` compares predictions with what happened for its metrics, in minutes; none: "
        "never.",
    )
    prediction_days: int = Field(
        90,
        ge=1,
        le=3660,
        description="Predictions of so many days before the end of the data count for it, those that are not over included.",
    )
    model_card: Path | None = Field(
        None,
        description="JSON report of `cxstream train churn`, with which `warehouse follow` compares today's customers (drift), and which "
        "the page Models of the console shows; by default there is none.",
    )
    few_answers: int = Field(
        10,
        ge=0,
        description="Views show no figure of fewer answers, contacts or touchpoints than this: `too_few` names it.",
    )


class Sink(_Section):
    """The read model in PostgreSQL."""

    url: SecretStr | None = Field(
        None,
        description="The database, postgresql://USER@HOST:PORT/DATABASE, for `cxstream sink` without an address; never "
        "logged.",
    )
    password: SecretStr | None = Field(
        None,
        description="Password of the user, if the address has none, or of a new embedded server; never logged.",
    )
    password_file: Path | None = Field(None, description="... or the file that it is in.")
    schema_name: str = Field(
        "cxstream",
        pattern="^[a-z_][a-z0-9_]{0,39}$",
        description="Schema of the tables. It is made if it does not exist.",
    )
    keep_months: int = Field(
        13,
        ge=1,
        le=1200,
        description="Months of signals and aggregates that are kept besides the present one; a month is a partition, and is "
        "dropped as a whole. Months are in UTC.",
    )
    ahead_months: int = Field(2, ge=0, le=24, description="Months for which partitions are made in advance.")
    flush_seconds: float = Field(
        2.0, gt=0, le=600, description="How often what has been read is committed, in seconds."
    )
    flush_rows: int = Field(20_000, ge=1, description="... or after this many rows, whichever comes first.")
    recount_minutes: float = Field(
        60.0,
        ge=0,
        description="Touchpoints of erased customers are taken out of the aggregates at most this often, in minutes: it "
        "reads cx.scored from its beginning.",
    )
    connect_seconds: int = Field(10, ge=2, le=600, description="How long a connection may take, in seconds.")
    statement_seconds: int = Field(
        60, ge=1, le=3600, description="How long a statement or an idle transaction may take, in seconds."
    )
    metrics: bool = Field(True, description="Serve /metrics for Prometheus.")
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics server.")
    metrics_port: int = Field(
        9465, ge=0, le=65535, description="Port of the metrics server; 0 takes a free one."
    )
    metrics_hosts: tuple[str, ...] = Field(
        (),
        description="Host names and addresses that the metrics server accepts, in addition to localhost and the address of "
        "the connection.",
    )
    embedded_data: Path | None = Field(
        None, description="Where `cxstream sink --embedded` keeps its data; a folder of the user by default."
    )
    embedded_host: str = Field(
        "127.0.0.1",
        description="Address that the embedded server listens on; connections from other computers are not encrypted.",
    )
    embedded_port: int = Field(
        5433, ge=0, le=65535, description="Port of the embedded server; 0 takes a free one."
    )


class Insights(_Section):
    """Alerts on places: touchpoints, channels, topics and teams."""

    hard_points: float = Field(
        4.0, gt=0, le=1e6, description="Effort points of a customer's visit from which it is a hard one."
    )
    long_wait_s: float = Field(60.0, ge=0, description="A longer waiting time is a long one, in seconds.")
    teams: dict[str, list[str]] = Field(
        {},
        description="Teams that are watched, and that views are filtered and grouped by: patterns of agents, such as "
        "`billing = ['b-*', 'lead-7']`.",
    )
    false_alarms: float = Field(
        1.0, gt=0, le=1000, description="False alarms that are accepted in a month for each 100 places."
    )
    cooldown_hours: int = Field(
        6,
        ge=0,
        le=720,
        description="No alarm of a place and measure follows another within this time, in hours.",
    )
    most_places: int = Field(
        5000, ge=1, description="Places that are watched; later ones are not. Each takes some 11 kB."
    )
    measures: list[Literal["failure", "effort", "wait", "nps"]] = Field(
        ["failure", "effort", "wait", "nps"],
        description="Measures of which the warehouse keeps signals, and sends them to cx.insights; none turns that off.",
    )
    dimensions: list[Literal["touchpoint", "channel", "topic", "team"]] = Field(
        ["touchpoint", "channel", "topic", "team"], description="Places of which it does."
    )
    publish: bool = Field(
        True,
        description="`warehouse follow` sends signals about places to cx.insights; otherwise they are only kept.",
    )
    patience_minutes: float = Field(
        3.0,
        gt=0,
        description="A partition whose clock stands still for so long is not waited for, in minutes; touchpoints that it "
        "brings later than that are not watched.",
    )


class Console(_Section):
    """The pages of `cxstream serve`."""

    host: str = Field("127.0.0.1", description="Address of the server; an address of this computer alone.")
    port: int = Field(8600, ge=0, le=65535, description="Port of the server; 0 takes a free one.")
    users_file: Path | None = Field(
        None,
        description="File with the people who may sign in, which `cxstream serve --add-user` writes. Without one everybody "
        "on this computer sees everything, and the server refuses other addresses.",
    )
    views_file: Path | None = Field(
        None,
        description="File in which people's saved views are kept; by default beside the read model, as FILE.views.json.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names by which browsers call the server, beside localhost; needed for another `host`.",
    )
    cert_file: Path | None = Field(
        None, description="PEM file with the certificate of the server, for https."
    )
    key_file: Path | None = Field(None, description="... and with its key.")
    behind_tls: bool = Field(
        False,
        description="A proxy before the server speaks https with the browsers; set it only where that is so.",
    )
    proxies: tuple[str, ...] = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For names the browser. Without them limits count all "
        "browsers behind a proxy as one address until they sign in.",
    )
    session_hours: float = Field(
        12.0,
        gt=0,
        le=720,
        description="Somebody who does nothing for this time must sign in again, in hours.",
    )
    session_limit_hours: float = Field(
        24.0,
        gt=0,
        le=8760,
        description="Everybody must sign in again after this time, whatever they do, in hours. A role that a provider "
        "gives (section oidc) is asked for again then.",
    )
    requests_per_minute: int = Field(600, ge=1, description="Requests that are answered a minute and person.")
    company: str = Field("", max_length=40, description="Your name, shown beside the logo.")
    queries: int = Field(4, ge=1, le=64, description="Queries that run at the same time.")
    query_seconds: float = Field(
        20.0, gt=0, le=600, description="A query that takes longer is stopped, in seconds."
    )
    cached_results: int = Field(
        1024, ge=0, le=100_000, description="Results that are kept as long as the read model does not change."
    )
    old_seconds: float = Field(
        300.0,
        ge=0,
        le=3600,
        description="With a million touchpoints or more: figures whose query takes over 0.25 s may be this old while newer ones are "
        "computed, in seconds; the page says so. Pages are made ahead with their named periods. 0: never.",
    )
    release_seconds: float = Field(
        2.0,
        ge=0,
        le=600,
        description="The file is released after this time without a query, in seconds, so that a writer can "
        "open it.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which `serve` serves /metrics, /livez and /readyz; 0 takes a free one, by default there are none.",
    )
    metrics_host: str = Field("127.0.0.1", min_length=1, description="Address on which it does.")
    metrics_hosts: tuple[str, ...] = Field(
        (),
        description="Host names that it accepts there, in addition to `hosts`, localhost and the address of the connection.",
    )


class Oidc(_Section):
    """Sign-in to `cxstream serve` by an OpenID provider."""

    issuer: str | None = Field(
        None,
        pattern=r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])\S+$",
        description="Address of the provider, exactly as its `/.well-known/openid-configuration` has it in `issuer`; "
        "https, except on this computer. Without one nobody signs in by a provider.",
    )
    client_id: str = Field("", description="How the provider knows the console.")
    client_secret: SecretStr | None = Field(
        None, description="... with this secret, where it has given one; never logged."
    )
    client_secret_file: Path | None = Field(None, description="... or the file that it is in.")
    ca_file: Path | None = Field(
        None,
        description="PEM file with the certificates to trust the provider's by; those of the system by default.",
    )
    name: str = Field("", max_length=40, description="Name of the provider, on the page to sign in.")
    scopes: str = Field("openid profile email", description="Scopes to ask for; `openid` must be among them.")
    name_claim: str = Field(
        "preferred_username",
        min_length=1,
        description="Claim with the name by which the audit log and others know somebody.",
    )
    role_claim: str = Field(
        "groups",
        min_length=1,
        description="Claim with the groups or roles of somebody; dots lead into objects, as in realm_access.roles.",
    )
    viewers: tuple[str, ...] = Field(
        (), description='Values of that claim that make a viewer; "*" makes one of everybody who signs in.'
    )
    agents: tuple[str, ...] = Field((), description="... that make an agent.")
    admins: tuple[str, ...] = Field((), description="... that make an administrator.")
    clock_skew_seconds: int = Field(
        60,
        ge=0,
        le=600,
        description="How far the provider's clock may differ from this computer's, in seconds.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Refuse a provider with which nobody could sign in."""
        if self.issuer is None:
            return self
        if not self.client_id:
            raise ValueError(
                "client_id is missing: register the console with the provider and name its client id"
            )
        if "openid" not in self.scopes.split():
            raise ValueError("scopes has no openid: without it the provider does not say who signs in")
        if not self.viewers and not self.agents and not self.admins:
            raise ValueError(
                "viewers, agents, admins: name the values of role_claim that give a role, or nobody has one"
            )
        return self


class Local(_Section):
    """The local broker for development."""

    data: Path | None = Field(
        None, description="Where the local broker keeps its data; a cache folder by default."
    )
    kafka_version: str = Field("4.1.0", description="Apache Kafka to run.")
    kafka_sums: Path | None = Field(
        None,
        description="File with the SHA-256 of each of its jars, in the format of sha256sum, for other versions "
        "than the default.",
    )
    heap: str = Field("512m", pattern=r"^\d+[mg]$", description="Java heap of the local broker.")


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="CXSTREAM_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    # What the settings file says; filled in by `load`.
    _from_file: ClassVar[dict[str, Any]] = {}

    kafka: str = Field("localhost:9092", min_length=1, description="Bootstrap servers, host:port[,...].")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level of log messages."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: readable lines on a terminal, JSON otherwise."
    )
    actions: dict[str, str] = Field(
        default_factory=lambda: dict(ACTIONS),
        description="Suggested action for each leading reason; name only those to change.",
    )
    security: Security = Field(Security(), description="Security of the connection to Kafka.")
    topics: Topics = Field(Topics(), description="The topics.")
    worker: Worker = Field(Worker(), description="The Faust worker.")
    privacy: Privacy = Field(Privacy(), description="Pseudonyms instead of customer ids.")
    control: Control = Field(Control(), description="Signatures of control records.")
    replay: Replay = Field(Replay(), description="Scoring of files.")
    warehouse: Warehouse = Field(Warehouse(), description="The read model in a DuckDB file.")
    sink: Sink = Field(Sink(), description="The read model in PostgreSQL.")
    insights: Insights = Field(Insights(), description="Alerts on places.")
    console: Console = Field(Console(), description="The pages of `cxstream serve`.")
    oidc: Oidc = Field(Oidc(), description="Sign-in to the console by an OpenID provider.")
    local: Local = Field(Local(), description="The local broker for development.")
    scoring: ScoringParams = Field(ScoringParams(), description="Every constant of the scores.")

    @field_validator("actions")
    @classmethod
    def _complete(cls, actions: dict[str, str]) -> dict[str, str]:
        """Fill the table with the defaults of what it does not name; refuse reasons that do not exist."""
        for name in actions:
            if name not in FEATURES:
                raise ValueError(f"unknown reason {name!r}; known are {', '.join(FEATURES)}")
        return ACTIONS | actions

    @model_validator(mode="after")
    def _own_group(self) -> Self:
        """Keep two installations apart that leave the group at its default."""
        if self.worker.group == DEFAULT_GROUP and self.topics.prefix:
            group = f"{self.topics.prefix}{DEFAULT_GROUP}"
            object.__setattr__(self, "worker", self.worker.model_copy(update={"group": group}))
        return self

    def with_rules(self, rules: Rules) -> Self:
        """These settings with other rules in `scoring` and `actions`."""
        params = rules.params.model_copy(update={"max_record_bytes": self.scoring.max_record_bytes})
        return self.model_copy(update={"scoring": params, "actions": dict(rules.actions)})

    def snapshot_secrets(self) -> tuple[bytes, ...]:
        """Accepted keys of the checksums of snapshots, first the one to save with; b"" if none is needed.

        Raises:
            SettingsError: the keys cannot be read.
        """
        keys = self.control.keys()
        keyed = tuple(derived(key, "snapshot") for key in keys)
        return keyed if keyed and self.worker.unsigned_snapshots == "refuse" else (*keyed, b"")

    @property
    def topology(self) -> Topology:
        """The topics of this installation, as Kafka knows them."""
        return topology(self.topics.prefix)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the settings file below the environment."""
        said = (init_settings, env_settings, InitSettingsSource(settings_cls, cls._from_file))
        return *said, _Implied(settings_cls)


class _Implied(PydanticBaseSettingsSource):
    """What the scoring settings mean that are named, below them and above the defaults."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Nothing: all of it is found at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The settings that are implied."""
        given = self.current_state.get("scoring")
        return {"scoring": found} if isinstance(given, dict) and (found := implied(given)) else {}


def load(config: str | os.PathLike[str] | None = None, **overrides: Any) -> Settings:
    """Read the settings.

    Args:
        config: a TOML file; default `$CXSTREAM_CONFIG`, else the user's own (`cxstream.settings.file`), if any.
        overrides: what the command line says; None means that it says nothing.

    Raises:
        SettingsError: a setting or the file is wrong; names it and where it came from.
    """
    path = settings_file.find(config)
    settings_file.notice_unused(path)
    tables = {} if path is None else settings_file.read(path)

    class FromFile(Settings):
        _from_file: ClassVar[dict[str, Any]] = tables

    origin = "CXSTREAM_* variables" if path is None else f"{path} or CXSTREAM_* variables"
    try:
        return FromFile(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise SettingsError(f"{where}: {first['msg']} (from {origin})") from None
    except ValueError as error:  # a variable that is not JSON where it must be
        raise SettingsError(f"{origin}: {error}") from error
