"""A real Kafka that asks who you are, in each of the ways that cxstream knows, and allows what ACLs allow.

listener   protocol   who you are
PLAINTEXT  PLAINTEXT  nobody, and may do everything: how the tests look and grant
SCRAM      SASL_SSL   the user whose password you know
OAUTH      SASL_SSL   the subject of a token that the key of the token endpoint has signed
MTLS       SSL        the common name of your certificate

The same names may come through all of them: User:worker is one principal however he proves it.
"""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trustme
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import SecretStr

from cxstream.kafka.acls import Acl
from cxstream.kafka.admin import administration
from cxstream.local import broker, config, data, jars, java, ports
from cxstream.local.process import Guarded
from cxstream.settings import Local, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

LISTENERS = ("SCRAM", "OAUTH", "MTLS")
USERS = ("admin", "console", "crm", "oncall", "producer", "warehouse", "worker")
ISSUER, AUDIENCE = "https://tokens.example", "kafka"
READY_SECONDS = 90.0

_OAUTH = "org.apache.kafka.common.security.oauthbearer"


def password(user: str) -> str:
    """What the user's password is."""
    return f"pw-{user}-Sup3rGeheim"


class Authority:
    """Makes certificates, as PEM files in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def certificate(self, name: str, *hosts: str) -> Path:
        """A certificate with its key behind it in one file, the key as PKCS #8, which Kafka wants."""
        made = self._authority.issue_cert(*hosts or (f"{name}.example",), common_name=name)
        key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / f"{name}.pem"
        file.write_bytes(pem + b"".join(each.bytes() for each in made.cert_chain_pems))
        return file

    def encrypted_key(self, certificate: Path, passphrase: str) -> Path:
        """The key of a certificate in a file of its own that needs a passphrase."""
        key = serialization.load_pem_private_key(certificate.read_bytes(), None)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode()),
        )
        file = certificate.with_suffix(".key")
        file.write_bytes(pem)
        return file


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Tokens:
    """Signs tokens (JWT, RS256), and writes the key that checks them as a JWKS file."""

    def __init__(self, folder: Path) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        numbers = self._key.public_key().public_numbers()
        n, e = (_b64(each.to_bytes((each.bit_length() + 7) // 8, "big")) for each in (numbers.n, numbers.e))
        self.jwks = folder / "jwks.json"
        key = {"kty": "RSA", "kid": "test", "use": "sig", "alg": "RS256", "n": n, "e": e}
        self.jwks.write_text(json.dumps({"keys": [key]}))

    def token(self, subject: str, seconds: float = 600, audience: str = AUDIENCE) -> str:
        """A token that ends in so many seconds; it ended before if that is negative."""
        now = time.time()
        claims = {
            "sub": subject,
            "iss": ISSUER,
            "aud": audience,
            "scope": "kafka",
            "iat": int(min(now, now + seconds)) - 60,
            "exp": int(now + seconds),
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": "test"}
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_b64(signature)}"


_RESOURCES = {"topic": 2, "group": 3, "transactional-id": 5}
_LITERAL, _PREFIXED, _ALLOW = 3, 4, 3
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}


def printed(lines: str) -> set[tuple[str, Acl]]:
    """What `kafka-acls.sh` commands allow: principals and ACLs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=["kafka-acls.sh"])
    parser.add_argument("--add", action="store_true", required=True)
    for name in ("--bootstrap-server", "--command-config", "--allow-principal"):
        parser.add_argument(name, required=True)
    parser.add_argument("--operation", action="append", required=True, choices=_OPERATIONS)
    parser.add_argument("--resource-pattern-type", default="literal", choices=["literal", "prefixed"])
    for resource in _RESOURCES:
        parser.add_argument(f"--{resource}", action="append", default=[])
    found = set()
    for line in lines.splitlines():
        words = parser.parse_args(shlex.split(line))
        for resource in _RESOURCES:
            for name in getattr(words, resource.replace("-", "_")):
                for operation in words.operation:
                    acl = Acl(resource, name, words.resource_pattern_type == "prefixed", operation)
                    found.add((words.allow_principal, acl))
    return found


def _numbers(principal: str, acl: Acl) -> tuple[Any, ...]:
    pattern = _PREFIXED if acl.prefixed else _LITERAL
    kind, operation = _RESOURCES[acl.resource], _OPERATIONS[acl.operation]
    return kind, acl.name, pattern, principal, "*", operation, _ALLOW


async def allow(settings: Settings, granted: Iterable[tuple[str, Acl]]) -> None:
    """Allow principals what ACLs say."""
    async with administration(settings) as admin:
        for principal, acl in granted:
            answer = await admin._send_to_controller(CreateAclsRequest(*_numbers(principal, acl)))
            assert [code for code, _ in answer.creation_responses] == [0], answer


async def forbid(settings: Settings, principal: str, acl: Acl) -> None:
    """Take one ACL back."""
    async with administration(settings) as admin:
        answer = await admin._send_to_controller(DeleteAclsRequest(*_numbers(principal, acl)))
        [(code, _, matching)] = answer.filter_responses
        assert (code, len(matching)) == (0, 1), answer


def environment(settings: Settings) -> dict[str, str]:
    """The security settings as environment variables."""
    given = settings.security.model_dump(exclude_defaults=True)
    return {
        f"CXSTREAM_SECURITY__{name.upper()}": (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
        for name, value in given.items()
        if value is not None
    }


class SecureKafka:
    """The node. Use it as a context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cxstream-secure-"))
        self.authority = Authority(self.folder)
        self.tokens = Tokens(self.folder)
        self.certificates = {user: self.authority.certificate(user) for user in USERS}
        self._process: Guarded | None = None
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        program = [str(java.find()), "-Xmx384m", "-XX:+UseSerialGC"]
        program += [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.tokens.jwks.as_uri()}"]
        program += ["-cp", f"{jars.ensure(Local().kafka_version, jars.user_cache(), print)}/*"]
        claimed = data.claim(self.folder / "data")
        try:
            properties = config.write(claimed.path, self._properties())
            program += [f"-Dlog4j2.configurationFile={claimed.path / 'log4j2.properties'}"]
            self._format(program, claimed, properties)
            self._process = Guarded(
                [*program, "kafka.Kafka", "server.properties"],
                claimed.path / "kafka.log",
                cwd=claimed.path,
                scratch=claimed.path,
                hold=[claimed.lock],
            )
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        finally:
            claimed.release()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def bootstrap(self, listener: str) -> str:
        """Address of a listener."""
        return f"localhost:{self._ports[listener]}"

    @property
    def open(self) -> Settings:
        """How to reach it as the one who may do everything."""
        return Settings(kafka=self.bootstrap("PLAINTEXT"))

    def settings(self, listener: str, user: str, **security: Any) -> Settings:
        """How to reach it as a user, through one of the listeners; `security` says what is different."""
        ca = {"ca_file": self.authority.file}
        ways: dict[str, dict[str, Any]] = {
            "SCRAM": {"protocol": "SASL_SSL", **ca, "username": user, "password": password(user)},
            "MTLS": {"protocol": "SSL", **ca, "cert_file": self.certificates[user]},
            "OAUTH": {"protocol": "SASL_SSL", **ca, "sasl_mechanism": "OAUTHBEARER"},
        }
        if listener == "OAUTH" and "token_url" not in security:
            ways["OAUTH"]["token_file"] = self.token_file(user)
        return Settings(kafka=self.bootstrap(listener), security={**ways[listener], **security})

    def token_file(self, user: str, **how: Any) -> Path:
        """A file with a token of the user."""
        file = self.folder / f"{user}-{len(list(self.folder.iterdir()))}.token"
        file.write_text(self.tokens.token(user, **how) + "\n")
        return file

    def _properties(self) -> dict[str, str]:
        names = ("PLAINTEXT", *LISTENERS)
        self._ports = dict(zip(names, (numbers := ports.free(len(names) + 1))[:-1], strict=True))
        server = config.server(1, self._ports["PLAINTEXT"], numbers[-1])
        more = ",".join(f"{name}://127.0.0.1:{self._ports[name]}" for name in LISTENERS)
        return {
            **server,
            "listeners": f"{server['listeners']},{more}",
            "advertised.listeners": ",".join(f"{name}://localhost:{self._ports[name]}" for name in names),
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,OAUTH:SASL_SSL,MTLS:SSL"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.authority.certificate("broker", "localhost")),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.mtls.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
            "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
                f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
            ),
            # Without it Kafka 4.1.0 looks at the claims of a token and takes any signature.
            "sasl.oauthbearer.jwt.validator.class": f"{_OAUTH}.BrokerJwtValidator",
            # A connection ends with the token that it was made with.
            "listener.name.oauth.oauthbearer.connections.max.reauth.ms": "3600000",
            "sasl.oauthbearer.jwks.endpoint.url": self.tokens.jwks.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": ISSUER,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def _format(self, program: Iterable[str], claimed: data.DataFolder, properties: Path) -> None:
        users = [
            word
            for user in USERS
            for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password(user)}]")
        ]
        tool = [
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={claimed.cluster}",
            f"--config={properties}",
        ]
        done = subprocess.run(
            [*program, *tool, *users], cwd=claimed.path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _wait(self) -> None:
        assert self._process
        deadline = time.monotonic() + READY_SECONDS
        while not broker.answers(self.bootstrap("PLAINTEXT")):
            assert self._process.status is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """The end of Kafka's log."""
        assert self._process
        return self._process.tail(60)
