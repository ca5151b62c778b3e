"""The Helm chart: what it renders is valid, says what the code says, and runs with few rights.

`python tests/test_chart.py --write` writes the chart's list of topics anew.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from charts import CHART, ROOT, VALUES, Document, helm, kinds, only, template, validate
from cxstream.console.server import check
from cxstream.kafka.acls import CONSOLE, CRM, PRODUCER, WAREHOUSE, WORKER, Role, acls
from cxstream.settings import Settings, Sink, load
from cxstream.sink.address import Address
from cxstream.topology import TOPICS, topology

if TYPE_CHECKING:
    from pathlib import Path

LISTED = CHART / "topics.yaml"
MINIMAL = CHART / "ci" / "minimal.yaml"
PRODUCTION = CHART / "ci" / "production.yaml"
MUTUAL_TLS = CHART / "ci" / "mutual-tls.yaml"
TOKEN = CHART / "ci" / "token.yaml"
# That of PRODUCTION.
RUNBOOK_URL = "https://git.example.org/cxstream/docs/runbooks"
CLIENT = CHART / "ci" / "client-credentials.yaml"

every = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


def listed() -> str:
    """The topics as the chart's templates read them."""
    lines = [
        "# The topics, as src/cxstream/topology.py has them. Made by: python tests/test_chart.py --write",
        "topics:",
    ]
    roles = {role.name: acls(role, "cxstream", topology()) for role in (WORKER, WAREHOUSE, CONSOLE)}
    for topic in TOPICS:
        lines += [f"  # {topic.holds}", f"  - name: {topic.name}"]
        for name, granted in roles.items():
            operations = [acl.operation for acl in granted if acl.name == topic.name]
            lines += [f"    {name}: [{', '.join(operations)}]"] if operations else []
        lines += ["    config:"]
        lines += [f"      {name}: {json.dumps(value)}" for name, value in topic.config.items()]
    return "\n".join(lines) + "\n"


def test_list_of_topics_is_the_topology() -> None:
    assert LISTED.read_text() == listed(), "run: python tests/test_chart.py --write"


# --- valid


@every
def test_chart_passes_helms_own_checks(values: Path) -> None:
    result = helm("lint", "--strict", CHART, "--values", values)
    assert result.returncode == 0, result.stdout


@every
def test_what_comes_out_is_valid(values: Path) -> None:
    documents = template(values)
    assert documents
    for document in documents:
        validate(document)


@pytest.mark.parametrize("field", ["replcas", "strategi"])
def test_validation_notices_a_field_that_does_not_exist(field: str) -> None:
    for document in template(PRODUCTION):
        if "spec" in document:
            document["spec"][field] = 1
            with pytest.raises(jsonschema.ValidationError):
                validate(document)


@pytest.mark.parametrize(
    "wrong",
    [
        "replicas=3",  # no such value
        "worker.replcas=3",
        "worker.replicas=two",
        "worker.replicas=0",
        "kafka.partitions=0",
        "kafka.topicPrefix=a/b",
        "kafka.bootstrap=kafka",
        "kafka.security.protocol=TLS",
        "autoscaling.minReplicas=0",
        "worker.strategy=OnDelete",
        "worker.settings.CXSTREAM_SECURITY__PASSWORD=secret",
        "worker.settings.CXSTREAM_SECURITY__KEY_PASSWORD=secret",
        "worker.settings.CXSTREAM_SECURITY__CLIENT_SECRET=secret",
        "worker.settings.CXSTREAM_PRIVACY__KEY=secret",
        "worker.settings.CXSTREAM_CONTROL__KEY=secret",
        "worker.settings.CXSTREAM_CONTROL__PREVIOUS_KEY=secret",
        "sink.settings.CXSTREAM_SINK__PASSWORD=secret",
        "sink.settings.CXSTREAM_SINK__URL=postgresql://me:secret@db/bi",
        "sink.url=postgresql://me:secret@db/bi",
        "sink.url=mysql://db/bi",
        "sink.replicas=2",
        "warehouse.replicas=2",
        "warehouse.publishMinutes=0",
        "warehouse.volume.size=big",
        "warehouse.settings.CXSTREAM_WAREHOUSE__PATH=/tmp/w.duckdb",
        "console.hosts=cx.example.org",
        "console.settings.CXSTREAM_SECURITY__PASSWORD=secret",
        "console.settings.CXSTREAM_OIDC__CLIENT_SECRET=secret",
        "control.key=",
        "control.value=secret",
        "worker.extraVolumes=none",
        "worker.extraVolumeMounts=none",
        "networkPolicy.dnsPorts=53",
        "networkPolicy.extraEgress=all",
        "worker.settings.PATH=/",
        "image.digest=latest",
        "strimzi.apiVersion=v1",
        "monitoring.runbookUrl=docs/runbooks",
        "monitoring.runbookUrl=https://wiki.example/page?name=x",
        "monitoring.runbookUrl=https://wiki.example/a b",
    ],
)
def test_wrong_values_are_refused(wrong: str) -> None:
    name = wrong.partition("=")[0].split(".")[-1]
    result = helm(
        "template", "cxstream", CHART, "--kube-version", "1.35", "--values", MINIMAL, "--set", wrong
    )
    assert result.returncode != 0
    assert name in result.stderr


def test_secret_in_the_clear_is_refused_beside_one_from_a_secret() -> None:
    name = "worker.extraEnv[0].name=CXSTREAM_PRIVACY__KEY,worker.extraEnv[0]"
    where = "valueFrom.secretKeyRef"
    assert template(MINIMAL, "--set", f"{name}.{where}.name=privacy,worker.extraEnv[0].{where}.key=key")
    clear = helm(
        "template",
        "cxstream",
        CHART,
        "--kube-version",
        "1.35",
        "--values",
        MINIMAL,
        "--set",
        f"{name}.value=x",
    )
    assert clear.returncode != 0
    assert "extraEnv" in clear.stderr


@pytest.mark.parametrize(
    "missing", ["image.repository", "kafka.security.username", "kafka.security.password.secret"]
)
def test_what_nobody_else_can_know_has_to_be_said(missing: str) -> None:
    result = helm(
        "template",
        "cxstream",
        CHART,
        "--kube-version",
        "1.35",
        "--values",
        PRODUCTION,
        "--set",
        f"{missing}=",
    )
    assert result.returncode != 0
    assert missing in result.stderr


# --- says what the code says


def test_install_in_the_first_steps_is_of_the_image_that_is_built() -> None:
    found = re.search(
        r"`helm install cxstream deploy/helm/cxstream\s([^`]+)`",
        (ROOT / "docs" / "first-steps.md").read_text(),
    )
    assert found
    (container,) = only(template(None, *shlex.split(found[1])), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    built = (ROOT / "docs" / "operations.md").read_text()
    assert f"--tag {container['image']} .\n" in built
    assert f"docker push {container['image']}\n" in built


def variables(documents: list[Document], name: str = "cxstream") -> dict[str, str]:
    """The environment of the worker or the sink; what Kubernetes looks up stands for its value."""
    (container,) = only(documents, "Deployment", name=name)["spec"]["template"]["spec"]["containers"]
    return _environment(container)


def _environment(container: Document) -> dict[str, str]:
    return {each["name"]: each.get("value") or str(each["valueFrom"]) for each in container["env"]}


@every
def test_worker_is_given_settings_that_exist(values: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files are those of the container.
    given = variables(template(values))
    files = {name for name in given if name.endswith("_FILE") or name == "CXSTREAM_CONFIG"}
    known = _variables_of(Settings)
    assert set(given) - known == {"CXSTREAM_CONFIG"} & set(given)
    for name in given.keys() & known - files:
        monkeypatch.setenv(name, given[name])
    settings = load()
    assert settings.kafka == given["CXSTREAM_KAFKA"]
    assert settings.worker.group == given["CXSTREAM_WORKER__GROUP"]


def _variables_of(model: Any, prefix: str = "CXSTREAM_") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        variable = prefix + name.upper()
        inner = getattr(field.annotation, "model_fields", None)
        found |= _variables_of(field.annotation, variable + "__") if inner else {variable}
    return found


def test_settings_file_of_the_values_is_one(tmp_path: Path) -> None:
    file = tmp_path / "cxstream.toml"
    file.write_text(only(template(PRODUCTION), "ConfigMap", name="cxstream")["data"]["cxstream.toml"])
    assert load(file).scoring != Settings().scoring


def test_defaults_are_those_of_the_settings() -> None:
    worker, defaults = yaml.safe_load((CHART / "values.yaml").read_text())["worker"], Settings().worker
    assert worker["group"] == defaults.group
    assert worker["stopSeconds"] == defaults.stop_seconds
    assert worker["webPort"] == defaults.web_port
    assert worker["metricsPort"] == defaults.metrics_port


@pytest.mark.parametrize("values", [PRODUCTION, MUTUAL_TLS], ids=lambda path: path.stem)
def test_topics_are_those_of_the_topology(values: Path) -> None:
    wanted = yaml.safe_load(values.read_text())["kafka"]["partitions"]
    topics = kinds(template(values), "KafkaTopic")
    found = {topic["metadata"]["name"]: topic["spec"] for topic in topics}
    assert set(found) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        config = found[topic.name]["config"]
        config.pop("min.insync.replicas")
        assert config == topic.config
        assert found[topic.name]["partitions"] == wanted
    assert {topic["metadata"]["annotations"]["helm.sh/resource-policy"] for topic in topics} == {"keep"}


def rights(documents: list[Document], user: str) -> dict[tuple[str, str, str], set[str]]:
    """What a KafkaUser may do: {(type, pattern, name): operations}."""
    (found,) = [each for each in kinds(documents, "KafkaUser") if each["metadata"]["name"] == user]
    rules = found["spec"]["authorization"]["acls"]
    assert {rule["type"] for rule in rules} == {"allow"}
    return {
        (rule["resource"]["type"], rule["resource"]["patternType"], rule["resource"]["name"]): set(
            rule["operations"]
        )
        for rule in rules
    }


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("cxstream-worker", WORKER),
        ("cxstream-warehouse", WAREHOUSE),
        ("cxstream-console", CONSOLE),
        ("shop", PRODUCER),
    ],
)
def test_users_may_do_what_the_printed_acls_allow_and_no_more(user: str, role: Role) -> None:
    kind_of = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}
    wanted: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    # The console keeps a read model, too.
    roles = (WAREHOUSE, CONSOLE) if role is CONSOLE else (role,)
    for acl in (each for one in roles for each in acls(one, "cxstream", topology())):
        pattern = "prefix" if acl.prefixed else "literal"
        wanted[kind_of[acl.resource], pattern, acl.name].add(acl.operation)
    assert rights(template(PRODUCTION), user) == wanted


def test_a_reader_with_outcomes_may_do_what_a_crm_may() -> None:
    found = rights(template(PRODUCTION), "crm")
    assert {name: operations - {"Describe"} for (_, _, name), operations in found.items()} == {
        acl.name: {acl.operation} for acl in acls(CRM, "crm", topology())
    }


def test_a_second_installation_has_topics_rights_and_a_group_of_its_own() -> None:
    documents = template(PRODUCTION, "--set", "kafka.topicPrefix=EU_1.")
    given = variables(documents)
    assert given["CXSTREAM_TOPICS__PREFIX"] == "EU_1."
    assert given["CXSTREAM_WORKER__GROUP"] == "EU_1.cxstream"
    wanted = topology("EU_1.")
    made = kinds(documents, "KafkaTopic")
    assert {each["spec"]["topicName"] for each in made} == {topic.name for topic in wanted.all}
    assert "eu-1.cx.touchpoints" in {each["metadata"]["name"] for each in made}
    for user, role in (("cxstream-worker", WORKER), ("cxstream-warehouse", WAREHOUSE), ("shop", PRODUCER)):
        names = {name for _, _, name in rights(documents, user)}
        assert names == {acl.name for acl in acls(role, "EU_1.cxstream", wanted)}
    assert ("topic", "literal", "EU_1.cx.churn-risk") in rights(documents, "crm")
    (scaler,) = kinds(documents, "ScaledObject")
    (trigger,) = scaler["spec"]["triggers"]
    assert (trigger["metadata"]["topic"], trigger["metadata"]["consumerGroup"]) == (
        wanted.touchpoints.name,
        "EU_1.cxstream",
    )


def test_a_group_that_was_chosen_has_no_prefix() -> None:
    given = variables(template(MINIMAL, "--set", "kafka.topicPrefix=eu.,worker.group=mine"))
    assert given["CXSTREAM_WORKER__GROUP"] == "mine"


def test_readers_may_read_what_they_are_for() -> None:
    assert rights(template(PRODUCTION), "agents") == {
        ("topic", "literal", "cx.friction"): {"Read", "Describe"},
        ("topic", "literal", "cx.scores"): {"Read", "Describe"},
        ("group", "literal", "agents"): {"Read", "Describe"},
    }


@pytest.mark.parametrize("values", [PRODUCTION, MUTUAL_TLS], ids=lambda path: path.stem)
def test_strimzis_secrets_are_where_the_worker_is(values: Path) -> None:
    documents = template(values)
    deployment = only(documents, "Deployment", name="cxstream")
    user = only(documents, "KafkaUser", name="cxstream-worker")
    assert user["metadata"]["namespace"] == deployment["metadata"]["namespace"]
    mounted = {
        volume["secret"]["secretName"]
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    # The control key is ours, not Strimzi's.
    assert mounted - {"cxstream-control"} == {"cxstream-worker", "kafka-cluster-ca-cert"}
    # So is Kafka, whose authority's secret is nowhere else.
    assert "." not in variables(documents)["CXSTREAM_KAFKA"]


# --- runs with few rights, and stops in good order


@every
def test_pods_have_no_rights(values: Path) -> None:
    documents = template(values)
    pod = only(documents, "Deployment", name="cxstream")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
        writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"tmp"}


def test_password_is_a_file_and_nowhere_in_the_environment() -> None:
    given = variables(template(PRODUCTION))
    assert given["CXSTREAM_SECURITY__PASSWORD_FILE"].startswith("/etc/cxstream/password/")
    assert "CXSTREAM_SECURITY__PASSWORD" not in given


def test_token_is_for_kafka_alone_and_there_is_no_password() -> None:
    documents = template(TOKEN)
    given = variables(documents)
    assert given["CXSTREAM_SECURITY__SASL_MECHANISM"] == "OAUTHBEARER"
    assert not {"CXSTREAM_SECURITY__USERNAME", "CXSTREAM_SECURITY__PASSWORD_FILE"} & set(given)
    folder, _, name = given["CXSTREAM_SECURITY__TOKEN_FILE"].rpartition("/")
    (source,) = _mounted(documents, folder)["projected"]["sources"]
    assert source["serviceAccountToken"] == {"audience": "kafka", "expirationSeconds": 3600, "path": name}


@pytest.mark.parametrize(
    ("values", "variable", "secret"),
    [
        (TOKEN, "CXSTREAM_PRIVACY__KEY_FILE", "cxstream-privacy"),
        (CLIENT, "CXSTREAM_SECURITY__CLIENT_SECRET_FILE", "cxstream-client"),
        (PRODUCTION, "CXSTREAM_CONTROL__KEY_FILE", "cxstream-control"),
        (PRODUCTION, "CXSTREAM_CONTROL__PREVIOUS_KEY_FILE", "cxstream-control"),
    ],
)
def test_files_that_the_values_name_are_mounted(values: Path, variable: str, secret: str) -> None:
    documents = template(values)
    folder, _, _ = variables(documents)[variable].rpartition("/")
    assert _mounted(documents, folder)["secret"]["secretName"] == secret


def _mounted(documents: list[Document], folder: str, name: str = "cxstream") -> Document:
    """The volume at a folder of the worker's, or the sink's."""
    pod = only(documents, "Deployment", name=name)["spec"]["template"]["spec"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == folder]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    return volume


@pytest.mark.parametrize("values", [TOKEN, CLIENT], ids=lambda path: path.stem)
def test_tokens_and_autoscaling_exclude_each_other(values: Path) -> None:
    result = helm(
        "template",
        "cxstream",
        CHART,
        "--kube-version",
        "1.35",
        "--values",
        values,
        "--set",
        "autoscaling.enabled=true",
    )
    assert result.returncode != 0
    assert "autoscaling.enabled" in result.stderr


@pytest.mark.parametrize("seconds", ["0.5", "10", "20.5", "120"])
def test_pod_has_longer_to_stop_than_the_worker(seconds: str) -> None:
    documents = template(MINIMAL, "--set-json", f"worker.stopSeconds={seconds}")
    pod = only(documents, "Deployment", name="cxstream")["spec"]["template"]["spec"]
    assert variables(documents)["CXSTREAM_WORKER__STOP_SECONDS"] == seconds
    assert float(seconds) + 10 <= pod["terminationGracePeriodSeconds"] <= float(seconds) + 20


@pytest.mark.parametrize(("partitions", "most", "expected"), [(12, 48, 12), (12, 6, 6), (1, 8, 1)])
def test_never_more_workers_than_partitions(partitions: int, most: int, expected: int) -> None:
    documents = template(PRODUCTION, "--set", f"kafka.partitions={partitions},autoscaling.maxReplicas={most}")
    spec = only(documents, "ScaledObject")["spec"]
    assert spec["maxReplicaCount"] == expected
    assert 1 <= spec["minReplicaCount"] <= expected
    assert spec["triggers"][0]["metadata"]["allowIdleConsumers"] == "false"
    # Who scales says how many, and nobody else.
    assert "replicas" not in only(documents, "Deployment", name="cxstream")["spec"]


def test_nobody_may_connect_where_nobody_is_named() -> None:
    policy = only(template(MUTUAL_TLS), "NetworkPolicy", name="cxstream")["spec"]
    assert policy["ingress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def ways_out(values: Path, *more: str) -> list[tuple[list[Any], Any]]:
    """What the worker may connect to: ports, and peers (None: anywhere)."""
    rules = only(template(values, *more), "NetworkPolicy", name="cxstream")["spec"]["egress"]
    return [([(port["protocol"], port["port"]) for port in rule["ports"]], rule.get("to")) for rule in rules]


def test_names_are_looked_up_in_the_cluster_and_in_a_cache_on_the_node() -> None:
    (ports, peers), *_ = ways_out(MINIMAL)
    assert ports == [("UDP", 53), ("TCP", 53)]
    labels = [peer["podSelector"]["matchLabels"]["k8s-app"] for peer in peers if "podSelector" in peer]
    assert labels == ["kube-dns", "node-local-dns"]
    assert peers[-1] == {"ipBlock": {"cidr": "169.254.20.10/32"}}


def test_names_are_looked_up_where_the_values_say() -> None:
    wanted = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}
    assert ways_out(TOKEN)[0] == ([("UDP", 5353), ("TCP", 5353)], [wanted])
    assert ways_out(MINIMAL, "--set-json", "networkPolicy.dnsTo=[]")[0][1] is None


def test_token_endpoint_can_be_let_through() -> None:
    assert ways_out(CLIENT)[-1] == ([("TCP", 443)], [{"ipBlock": {"cidr": "203.0.113.7/32"}}])


# --- the sink, an option


def test_there_is_no_sink_unless_it_is_wanted() -> None:
    assert not [each for each in template(MINIMAL) if each["metadata"]["name"].endswith("-sink")]


def test_the_sink_is_one_process_with_few_rights_and_settings_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = template(PRODUCTION)
    spec = only(documents, "Deployment", name="cxstream-sink")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    sink = spec["template"]["spec"]
    worker = only(documents, "Deployment", name="cxstream")["spec"]["template"]["spec"]
    (container,) = sink["containers"]
    assert sink["securityContext"] == worker["securityContext"]
    assert container["securityContext"] == worker["containers"][0]["securityContext"]
    assert container["image"] == worker["containers"][0]["image"]
    assert sink["automountServiceAccountToken"] is False
    assert {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {"tmp"}
    given = variables(documents, "cxstream-sink")
    assert set(given) - _variables_of(Settings) == {"PGSSLROOTCERT"}
    for name, value in given.items():
        if not name.endswith("_FILE"):
            monkeypatch.setenv(name, value)
    settings = load()
    made = Address(given["CXSTREAM_SINK__URL"], settings.sink)
    assert made.parameters()["sslmode"] == "verify-full"
    assert "sslrootcert" not in made.parameters()
    assert settings.sink.metrics_port == Sink().metrics_port == container["ports"][0]["containerPort"]


def test_the_sink_has_its_own_user_secrets_and_ways_out() -> None:
    documents = template(PRODUCTION)
    given = variables(documents, "cxstream-sink")
    user = only(documents, "KafkaUser", name="cxstream-warehouse")
    assert given["CXSTREAM_SECURITY__USERNAME"] == user["metadata"]["name"]
    secrets = {
        given[name]: _mounted(documents, given[name].rpartition("/")[0], "cxstream-sink")["secret"][
            "secretName"
        ]
        for name in ("CXSTREAM_SECURITY__PASSWORD_FILE", "CXSTREAM_SINK__PASSWORD_FILE", "PGSSLROOTCERT")
    }
    assert list(secrets.values()) == ["cxstream-warehouse", "cxstream-postgresql", "bi-ca"]
    policy = only(documents, "NetworkPolicy", name="cxstream-sink")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "sink"
    assert policy["egress"][-1]["ports"] == [{"protocol": "TCP", "port": 5432}]
    assert policy["egress"][-1]["to"]
    # Labels of the one do not choose the other.
    worker = only(documents, "Deployment", name="cxstream")["spec"]["selector"]["matchLabels"]
    assert worker["app.kubernetes.io/component"] == "worker"
    monitor = only(documents, "ServiceMonitor", name="cxstream-sink")["spec"]
    labels = only(documents, "Service", name="cxstream-sink")["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    # Without a user of its own it is the worker's.
    plain = template(PRODUCTION, "--set", "sink.kafka.username=,sink.kafka.password.secret=")
    assert variables(plain, "cxstream-sink")["CXSTREAM_SECURITY__USERNAME"] == "cxstream-worker"
    assert (
        _mounted(plain, "/etc/cxstream/password", "cxstream-sink")["secret"]["secretName"]
        == "cxstream-worker"
    )


# --- the warehouse and the console, options


def _parts(documents: list[Document]) -> tuple[Document, dict[str, Document]]:
    """The pod of the warehouse, and its containers."""
    pod = only(documents, "StatefulSet", name="cxstream-warehouse")["spec"]["template"]["spec"]
    return pod, {each["name"]: each for each in pod["containers"]}


def test_there_is_no_warehouse_and_no_console_unless_they_are_wanted() -> None:
    names = {each["metadata"]["name"] for each in template(MINIMAL)}
    assert not {"cxstream-warehouse", "cxstream-console"} & names
    documents = template(PRODUCTION, "--set", "console.enabled=false")
    assert set(_parts(documents)[1]) == {"warehouse"}
    assert not [each for each in kinds(documents, "Service") if each["metadata"]["name"].endswith("-console")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("warehouse.enabled=false", "warehouse.enabled"),
        ("console.hosts=null", "console.hosts"),
        ("console.users.secret=", "console.users.secret"),
        ("console.oidc.issuer=https://id.example.org", "console.oidc.clientId"),
        ("console.oidc.issuer=https://id.example.org,console.oidc.clientId=cx", "viewers, agents or admins"),
        ("console.oidc.issuer=http://id.example.org", "issuer"),
    ],
)
def test_what_the_console_needs_has_to_be_said(wrong: str, said: str) -> None:
    result = helm(
        "template", "cxstream", CHART, "--kube-version", "1.35", "--values", PRODUCTION, "--set", wrong
    )
    assert result.returncode != 0
    assert said in result.stderr


@pytest.mark.parametrize("name", ["console", "warehouse"])
def test_one_process_keeps_the_warehouse_and_shows_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    has_console = name == "console"
    documents = template(PRODUCTION, *(() if has_console else ("--set", "console.enabled=false")))
    spec = only(documents, "StatefulSet", name="cxstream-warehouse")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    pod, containers = _parts(documents)
    worker = only(documents, "Deployment", name="cxstream")["spec"]["template"]["spec"]
    wanted = {**worker["securityContext"], "fsGroupChangePolicy": "OnRootMismatch"}
    assert pod["securityContext"] == wanted
    assert pod["automountServiceAccountToken"] is False
    # DuckDB lets no second process read a file that is written.
    ((found, container),) = containers.items()
    assert found == name
    assert container["args"] == (["serve", "--follow"] if has_console else ["warehouse", "follow"])
    writable = {
        (mount["name"], mount.get("subPath", ""))
        for mount in container["volumeMounts"]
        if not mount.get("readOnly")
    }
    assert writable == {("tmp", ""), ("data", ""), *([("data", "console")] if has_console else [])}
    assert container["securityContext"] == worker["containers"][0]["securityContext"]
    assert container["image"] == worker["containers"][0]["image"]
    (port,) = {container[f"{each}Probe"]["httpGet"]["port"] for each in ("startup", "liveness", "readiness")}
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    given = _environment(container)
    assert set(given) <= _variables_of(Settings)
    for variable, value in given.items():
        if not variable.startswith("CXSTREAM_SECURITY"):
            monkeypatch.setenv(variable, value)
    settings = load()
    assert str(settings.warehouse.path.parent) == "/var/lib/cxstream"
    assert settings.warehouse.publish_minutes == 15
    if has_console:
        # It may be reached by others: they sign in, by https.
        check(settings.console)
        assert settings.console.hosts == ("cx.example.org",)
        # Saved views lie where they stay.
        (kept,) = (each for each in container["volumeMounts"] if each.get("subPath") == "console")
        assert str(settings.console.views_file).startswith(f"{kept['mountPath']}/")
        assert ports == {"pages": settings.console.port, "pages-metrics": settings.console.metrics_port}
        assert port == "pages-metrics"
        # Settings of both hold, those of the console first.
        assert settings.warehouse.memory_mib == 2048
    else:
        assert ports == {"metrics": settings.warehouse.metrics_port}
        assert port == "metrics"
        assert settings.warehouse.memory_mib == 1024


def test_settings_of_the_warehouse_hold_with_the_console_and_a_copy_is_made_if_it_is_wanted() -> None:
    said = ("warehouse.settings.CXSTREAM_WAREHOUSE__KEEP_DAYS=90", "warehouse.publishMinutes=null")
    documents = template(
        PRODUCTION, *(each for one in said for each in ("--set-string" if "DAYS" in one else "--set", one))
    )
    given = _environment(_parts(documents)[1]["console"])
    assert (given["CXSTREAM_WAREHOUSE__KEEP_DAYS"], given["CXSTREAM_WAREHOUSE__MEMORY_MIB"]) == ("90", "2048")
    assert "CXSTREAM_WAREHOUSE__PUBLISH_MINUTES" not in given


@pytest.mark.parametrize("name", ["console", "warehouse"])
def test_warehouse_and_console_have_their_own_users_secrets_and_ways(name: str) -> None:
    has_console = name == "console"
    to = {"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [{"protocol": "TCP", "port": 443}]}
    documents = template(
        *(PRODUCTION, "--set", f"console.enabled={str(has_console).lower()}"),
        *("--set-json", f"console.to={json.dumps([to])}"),
    )
    pod, containers = _parts(documents)
    volumes = {each["name"]: each for each in pod["volumes"]}
    container = containers[name]
    given = _environment(container)
    user = only(documents, "KafkaUser", name=f"cxstream-{name}")
    assert given["CXSTREAM_SECURITY__USERNAME"] == user["metadata"]["name"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"] if "subPath" not in each}
    assert len(set(mounts.values())) == len(mounts)
    secrets = {
        variable.split("__")[1]: volumes[mounts[given[variable].rpartition("/")[0]]]["secret"]["secretName"]
        for variable in given
        if variable.endswith("_FILE") and variable != "CXSTREAM_CONSOLE__VIEWS_FILE"
    }
    wanted = {"PASSWORD_FILE": f"cxstream-{name}", "CA_FILE": "kafka-cluster-ca-cert"}
    assert secrets == {**wanted, **({"USERS_FILE": "cxstream-users"} if has_console else {})}
    policy = only(documents, "NetworkPolicy", name="cxstream-warehouse")["spec"]
    open_to = {
        port["port"]: rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in policy["ingress"]
        for port in rule["ports"]
    }
    pages = {"pages-metrics": "monitoring", "pages": "ingress"}
    assert open_to == (pages if has_console else {"metrics": "monitoring"})
    # The provider of those who sign in.
    assert (to in policy["egress"]) == has_console
    labels = only(documents, "StatefulSet", name="cxstream-warehouse")["spec"]["template"]["metadata"][
        "labels"
    ]
    (monitor,) = (
        each
        for each in kinds(documents, "ServiceMonitor")
        if each["metadata"]["name"] in {"cxstream-warehouse", "cxstream-console"}
    )
    assert monitor["metadata"]["name"] == f"cxstream-{name}"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["relabelings"][0]["replacement"] == f"cxstream-{name}"
    served = only(documents, "Service", name="cxstream-warehouse")["spec"]
    assert [endpoint["port"]] == [each["name"] for each in served["ports"]]
    for service in ("warehouse", *(["console"] if has_console else [])):
        found = only(documents, "Service", name=f"cxstream-{service}")["spec"]
        assert found["selector"].items() <= labels.items()
    shut = template(PRODUCTION, "--set", "networkPolicy.metricsFrom=null,console.from=null")
    assert only(shut, "NetworkPolicy", name="cxstream-warehouse")["spec"]["ingress"] == []


def test_people_sign_in_by_a_provider_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {
        "issuer": "https://id.example.org/realms/shop",
        "clientId": "cxstream",
        "agents": ["support", "care"],
        "admins": ["cx-admins"],
        "secret": "cx-oidc",
        "ca": {"secret": "id-ca"},
    }
    documents = template(
        *(PRODUCTION, "--set", "console.users.secret="),
        *("--set-json", f"console.oidc={json.dumps(chosen)}"),
    )
    pod, containers = _parts(documents)
    given = _environment(containers["console"])
    for variable, value in given.items():
        if not variable.startswith("CXSTREAM_SECURITY"):
            monkeypatch.setenv(variable, value)
    settings = load()
    check(settings.console, has_provider=settings.oidc.issuer is not None)
    assert settings.console.users_file is None
    told = settings.oidc
    assert (told.issuer, told.client_id) == (chosen["issuer"], chosen["clientId"])
    assert (told.viewers, told.agents, told.admins) == ((), ("support", "care"), ("cx-admins",))
    mounts = {each["mountPath"]: each["name"] for each in containers["console"]["volumeMounts"]}
    for kept, name, key in (
        (told.client_secret_file, "cx-oidc", "client-secret"),
        (told.ca_file, "id-ca", "ca.crt"),
    ):
        assert kept is not None
        (volume,) = (each for each in pod["volumes"] if each["name"] == mounts[str(kept.parent)])
        assert volume["secret"]["secretName"] == name
        assert volume["secret"]["items"] == [{"key": key, "path": kept.name}]
    assert not [name for name in given if name == "CXSTREAM_OIDC__CLIENT_SECRET"]
    assert "users" not in {each["name"] for each in pod["volumes"]}


def test_the_console_speaks_https_by_itself_with_a_certificate() -> None:
    documents = template(PRODUCTION, "--set", "console.tls.secret=cx-tls")
    given = _environment(_parts(documents)[1]["console"])
    assert "CXSTREAM_CONSOLE__BEHIND_TLS" not in given
    assert given["CXSTREAM_CONSOLE__CERT_FILE"].startswith("/etc/cxstream/tls/")
    assert only(documents, "Service", name="cxstream-console")["spec"]["ports"][0]["port"] == 443


# --- carries the rules and dashboards of the repository


@pytest.mark.parametrize("more", [(), ("--set", "nameOverride=scoring")])
def test_targets_are_the_job_that_the_rules_ask_for(more: tuple[str, ...]) -> None:
    name = "cxstream-scoring" if more else "cxstream"
    spec = only(template(PRODUCTION, *more), "ServiceMonitor", name=name)["spec"]
    assert "jobLabel" not in spec
    (endpoint,) = spec["endpoints"]
    assert endpoint["relabelings"] == [{"action": "replace", "targetLabel": "job", "replacement": "cxstream"}]


RULES = {"groups": [{"name": "one", "rules": [{
    "alert": "Down", "expr": "up == 0", "annotations": {"summary": "{{ $labels.job }} is {{ $value }}"},
}]}]}  # fmt: skip


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The chart with rules and a dashboard of this test."""
    chart = tmp_path / "cxstream"
    shutil.copytree(CHART, chart)
    for name in ("prometheus", "grafana"):
        shutil.rmtree(chart / "files" / name)
        (chart / "files" / name).mkdir()
    (chart / "files/prometheus/cxstream.alerts.yml").write_text(yaml.safe_dump(RULES))
    (chart / "files/prometheus/other.yml").write_text("not: rules\n")
    (chart / "files/grafana/pipeline.json").write_text('{\n  "title": "{{partition}}"\n}\n')
    return chart


def test_rules_and_dashboards_come_out_as_they_are(copied: Path) -> None:
    documents = template(PRODUCTION, chart=copied)
    for document in documents:
        validate(document)
    rule = only(documents, "PrometheusRule")
    assert (rule["metadata"]["name"], rule["spec"]) == ("cxstream-cxstream-alerts", RULES)
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    dashboard = only(documents, "ConfigMap", name="cxstream-dashboard-pipeline")
    assert json.loads(dashboard["data"]["pipeline.json"]) == {"title": "{{partition}}"}
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_chart_carries_all_rules_and_dashboards_of_the_repository() -> None:
    documents = template(PRODUCTION)
    rules = [
        yaml.safe_load(path.read_text().replace("{{ $externalURL }}/consoles", RUNBOOK_URL))
        for path in _shipped("prometheus", "*.rules.yml", "*.alerts.yml")
    ]
    assert [each["spec"] for each in kinds(documents, "PrometheusRule")] == rules
    boards = {path.name: path.read_text() for path in _shipped("grafana", "*.json")}
    found = [
        each["data"] for each in kinds(documents, "ConfigMap") if "dashboard" in each["metadata"]["name"]
    ]
    assert {name: json.loads(text) for data in found for name, text in data.items()} == {
        name: json.loads(text.replace('"query": "docs/runbooks"', f'"query": "{RUNBOOK_URL}"'))
        for name, text in boards.items()
    }


def alerts(documents: list[Document]) -> dict[str, Document]:
    """The annotations of each alert."""
    rules = [
        rule for each in kinds(documents, "PrometheusRule") for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]  # fmt: skip
    return {rule["alert"]: rule["annotations"] for rule in rules if "alert" in rule}


@pytest.mark.parametrize("given", [RUNBOOK_URL, RUNBOOK_URL + "/", "http://runbooks.example:8080"])
def test_alerts_and_dashboards_link_runbooks_at_the_address_of_the_values(given: str) -> None:
    documents = template(PRODUCTION, "--set", f"monitoring.runbookUrl={given}")
    found, base = alerts(documents), given.rstrip("/")
    assert found
    for name, said in found.items():
        assert said["runbook_url"] == f"{base}/{name}.md"
        assert (ROOT / "docs" / "runbooks" / said["runbook_url"].removeprefix(f"{base}/")).is_file()
    boards = [text for each in kinds(documents, "ConfigMap") for text in each["data"].values()]
    boards = [json.loads(text) for text in boards if text.startswith("{")]
    assert len(boards) == len(_shipped("grafana", "*.json"))
    for board in boards:
        named = {one["name"]: one.get("query") for one in board["templating"]["list"]}
        # A dashboard without alerts links no runbooks.
        assert named.get("runbooks", base) == base


def test_without_an_address_alerts_name_the_runbook_and_have_no_link() -> None:
    documents = template(PRODUCTION, "--set", "monitoring.runbookUrl=")
    found = alerts(documents)
    assert found
    for name, said in found.items():
        assert set(said) == {"summary", "description", "runbook"}
        assert said["runbook"] == f"docs/runbooks/{name}.md"
    for document in documents:
        validate(document)


def test_notes_tell_that_alerts_have_no_link(copied: Path) -> None:
    # helm shows notes only where a cluster answers; so they become a document of the chart.
    text = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
    (copied / "templates" / "notes.yaml").write_text(
        f"kind: Notes\nmetadata: {{name: notes}}\ntext: {text}\n"
    )

    def notes(change: str) -> str:
        return str(only(template(PRODUCTION, "--set", change, chart=copied), "Notes")["text"])

    assert "set monitoring.runbookUrl" in notes("monitoring.runbookUrl=")
    assert "runbookUrl" not in notes(f"monitoring.runbookUrl={RUNBOOK_URL}")
    assert "runbookUrl" not in notes("monitoring.runbookUrl=,monitoring.rules.enabled=false")


def _shipped(folder: str, *patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted((ROOT / "deploy" / folder).glob(pattern))]


def test_package_has_what_the_links_lead_to(copied: Path, tmp_path: Path) -> None:
    result = helm("package", copied, "--destination", tmp_path)
    assert result.returncode == 0, result.stderr
    (package,) = tmp_path.glob("*.tgz")
    assert kinds(template(PRODUCTION, chart=package), "PrometheusRule")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python tests/test_chart.py --write")
    LISTED.write_text(listed())
