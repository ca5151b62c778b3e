"""docker-compose.yml and the Dockerfile: valid, pinned, confined, and at one with each other.

Nothing is started here: there may be no Docker daemon where the tests run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import ROOT, tool
from cxstream.console.server import check
from cxstream.local.docker import DockerKafka
from cxstream.settings import Oidc, Sink, load
from cxstream.sink import embedded

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
PROFILES = ("monitoring", "postgresql", "warehouse", "console")
# Our own image says in its Dockerfile who runs it; it is not pulled.
OURS = "cxstream:local"


def compose(*arguments: str) -> str:
    """What Docker Compose says."""
    program = tool("docker-compose", "it comes with the development dependencies on x86-64 and macOS")
    command = [program, "--project-directory", str(ROOT), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr.lower(), result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def project() -> dict[str, dict[str, Any]]:
    """All of the file, as Docker Compose understands it."""
    profiles = [word for name in PROFILES for word in ("--profile", name)]
    found: dict[str, dict[str, Any]] = json.loads(compose(*profiles, "config", "--format", "json"))
    return found


@pytest.fixture(scope="module")
def services(project: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every service."""
    return project["services"]


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ((), set()),
        (("monitoring",), {"prometheus", "alertmanager", "grafana"}),
        (("postgresql",), {"sink"}),
        (("warehouse",), {"warehouse"}),
        (("console",), {"console"}),
    ],
)
def test_profiles_add_services(profiles: tuple[str, ...], expected: set[str]) -> None:
    options = [word for name in profiles for word in ("--profile", name)]
    assert set(compose(*options, "config", "--services").split()) == {"kafka", "topics", "worker"} | expected


def test_versions_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if service["image"] != OURS:
            assert re.fullmatch(
                r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?@sha256:[0-9a-f]{64}", service["image"]
            ), name
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])


def test_nothing_runs_as_root_or_writes_to_its_root(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("user", "0").startswith("0") or service["image"] == OURS, name
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert "0" not in user


def test_everything_that_stays_up_says_whether_it_is_healthy(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) == (service["restart"] != "no"), name
        for needed, how in service.get("depends_on", {}).items():
            stays = services[needed]["restart"] != "no"
            assert how["condition"] == ("service_healthy" if stays else "service_completed_successfully")


def test_ports_are_this_computers_own(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_what_is_mounted_is_there(services: dict[str, dict[str, Any]]) -> None:
    binds = [
        volume
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert binds
    for volume in binds:
        assert volume["read_only"] is True, volume["source"]
        assert (ROOT / volume["source"]).exists(), volume["source"]


def test_every_service_is_used(services: dict[str, dict[str, Any]]) -> None:
    configured = "".join(path.read_text() for path in (ROOT / "deploy/compose").rglob("*.yml"))
    configured += json.dumps([service.get("environment") for service in services.values()])
    for name, service in services.items():
        ours = service["image"] == OURS
        # Somebody connects to it, or it shows something of this repository.
        shows = any("/deploy/" in volume["source"] for volume in service.get("volumes", ()))
        assert ours or shows or re.search(rf"\b{name}:\d", configured), name


def test_volumes_are_used(project: dict[str, dict[str, Any]]) -> None:
    used = {
        volume["source"]
        for service in project["services"].values()
        for volume in service.get("volumes", ())
        if volume["type"] == "volume"
    }
    assert set(project["volumes"]) == used


def test_control_key_is_a_secret_of_the_workers_alone() -> None:
    files = ("-f", str(ROOT / "docker-compose.yml"), "-f", str(ROOT / "deploy/compose/control.yml"))
    found = json.loads(compose(*files, "config", "--format", "json"))
    key = found["services"]["worker"]["environment"]["CXSTREAM_CONTROL__KEY_FILE"]
    assert [name for name, each in found["services"].items() if "control-key" in str(each)] == ["worker"]
    (secret,) = found["services"]["worker"]["secrets"]
    assert key == f"/run/secrets/{secret['source']}"
    assert (
        "/" + Path(found["secrets"]["control-key"]["file"]).name in (ROOT / ".gitignore").read_text().split()
    )


def test_secrets_of_services_that_cannot_be_written_to_are_files(project: dict[str, dict[str, Any]]) -> None:
    # Docker Compose mounts a file; anything else it would have to write into the container.
    used = {
        secret["source"]
        for service in project["services"].values()
        for secret in (*service.get("secrets", ()), *service.get("configs", ()))
        if service["read_only"]
    }
    declared = project.get("secrets", {}) | project.get("configs", {})
    assert used == set(declared)
    assert [name for name in used if "file" not in declared[name]] == []
    # Nobody commits it by accident.
    ignored = (ROOT / ".gitignore").read_text().split()
    assert all("/" + Path(declared[name]["file"]).name in ignored for name in used)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "deploy" / "compose").rglob("*.yml")), ids=lambda path: path.name
)
def test_mounted_configuration_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_prometheus_asks_workers_and_alertmanager_where_they_are(services: dict[str, dict[str, Any]]) -> None:
    config = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (found,) = jobs["cxstream"]["dns_sd_configs"]
    assert set(found["names"]) <= set(services)
    (alerting,) = config["alerting"]["alertmanagers"]
    (target,) = alerting["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services


def as_in_a_container(service: dict[str, Any], folder: Path) -> str:
    """Run what a service does before its program starts, with its mounts here; what it writes to /tmp goes to a folder.

    The program itself is replaced by one that says how it was called.
    """
    shell, option, script, name = service["entrypoint"]
    assert (shell, option) == ("/bin/sh", "-ec")
    # Docker Compose prints $$ for a dollar sign.
    script = re.sub(r"exec /\S+", "echo started", script.replace("$$", "$")).replace("/tmp/", f"{folder}/")
    for volume in service["volumes"]:
        if volume["type"] == "bind":
            script = script.replace(volume["target"], volume["source"])
    command = ["sh", "-ec", script, name, *(service["command"] or ())]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | service["environment"],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, "http://localhost:9090/consoles"),
        ("", "http://localhost:9090/consoles"),
        ("https://git.example.org/cxstream/docs/runbooks/", "https://git.example.org/cxstream/docs/runbooks"),
    ],
)
def test_alerts_and_dashboards_link_runbooks_at_the_address_of_the_environment(
    given: str | None, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNBOOK_URL", raising=False)
    if given is not None:
        monkeypatch.setenv("RUNBOOK_URL", given)
    services = json.loads(compose("--profile", "monitoring", "config", "--format", "json"))["services"]
    prometheus = services["prometheus"]
    assert as_in_a_container(prometheus, tmp_path) == f"started {' '.join(prometheus['command'])}\n"
    (alerts,) = (tmp_path / "rules").glob("*.alerts.yml")
    rules = [rule for group in yaml.safe_load(alerts.read_text())["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"{address}/{rule['alert']}.md"
    assert as_in_a_container(services["grafana"], tmp_path) == "started\n"
    boards = sorted((tmp_path / "dashboards").glob("*.json"))
    assert [path.name for path in boards] == [
        path.name for path in sorted((ROOT / "deploy/grafana").iterdir())
    ]
    for path in boards:
        variables = json.loads(path.read_text())["templating"]["list"]
        named = {one["name"]: one.get("query") for one in variables}
        # A dashboard without alerts links no runbooks.
        assert named.get("runbooks", address) == address
        assert "runbooks" in named or path.name == "postgresql.json"


def test_prometheus_and_grafana_read_what_was_written_at_the_start() -> None:
    rules = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["rule_files"]
    assert rules == ["/tmp/rules/*.rules.yml", "/tmp/rules/*.alerts.yml"]
    (provider,) = yaml.safe_load((ROOT / "deploy/compose/grafana/dashboards/cxstream.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/tmp/dashboards"


def test_prometheus_serves_the_runbooks_that_alerts_link_by_default(
    services: dict[str, dict[str, Any]],
) -> None:
    prometheus = services["prometheus"]
    options = dict(option.split("=", 1) for option in prometheus["command"])
    mounts = {volume["target"]: volume.get("source") for volume in prometheus["volumes"]}
    assert Path(mounts[options["--web.console.templates"]]) == ROOT / "docs" / "runbooks"
    assert options["--web.external-url"] == "http://localhost:9090"
    assert [port["published"] for port in prometheus["ports"]] == ["9090"]


def test_grafana_asks_the_postgresql_of_the_sink(services: dict[str, dict[str, Any]]) -> None:
    [source] = yaml.safe_load((ROOT / "deploy/compose/grafana/datasources/postgresql.yml").read_text())[
        "datasources"
    ]
    host, _, port = source["url"].partition(":")
    assert host in services
    assert [each["target"] for each in services[host]["ports"]] == [int(port)] == [Sink().embedded_port]
    assert (source["user"], source["jsonData"]["database"]) == (embedded.USER, embedded.DATABASE)
    variable = source["secureJsonData"]["password"].removeprefix("$")
    password = services["grafana"]["environment"][variable]
    assert password == services[host]["environment"]["CXSTREAM_SINK__PASSWORD"]
    [place] = services[host]["volumes"]
    assert services[host]["environment"]["CXSTREAM_SINK__EMBEDDED_DATA"].startswith(f"{place['target']}/")
    # The volume gets the owner of the folder in the image, and PostgreSQL refuses a user without a name.
    text = DOCKERFILE.read_text()
    (user,) = re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)
    assert f"install -d -o {user} -g {user} -m 0700 {place['target']}\n" in text
    assert f"cxstream:x:{user}:{user}:" in text


def test_settings_of_the_sink_exist(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services["sink"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.sink.embedded_host == "0.0.0.0"
    assert settings.sink.metrics_hosts == ("sink",)


def test_settings_of_the_warehouse_exist(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services["warehouse"]
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load()
    [place] = service["volumes"]
    assert settings.warehouse.path.parent == Path(place["target"])
    assert settings.warehouse.publish_minutes == 15
    # Prometheus asks by the name of the service, which is answered.
    [job] = [
        each
        for each in yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["scrape_configs"]
        if each["job_name"] == "cxstream-warehouse"
    ]
    [target] = job["dns_sd_configs"]
    assert (target["names"], target["port"]) == (["warehouse"], settings.warehouse.metrics_port)
    assert f":{settings.warehouse.metrics_port}/readyz" in service["healthcheck"]["test"][-1]
    assert settings.warehouse.metrics_host == "0.0.0.0"
    assert settings.worker.web_hosts == ("warehouse",)


def test_the_console_shows_the_warehouse_to_those_who_sign_in(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = services["console"]
    for name, value in service["environment"].items():
        if value is not None:
            monkeypatch.setenv(name, value)
    settings = load()
    console = settings.console
    check(console)
    # One process keeps the warehouse and shows it.
    assert service["command"] == ["serve", "--follow"]
    [place] = service["volumes"]
    assert [place["source"]] == [each["source"] for each in services["warehouse"]["volumes"]]
    assert str(settings.warehouse.path) == services["warehouse"]["environment"]["CXSTREAM_WAREHOUSE__PATH"]
    assert console.users_file == Path(place["target"]) / "users.json"
    [port] = service["ports"]
    assert (port["target"], port["published"]) == (console.port, str(console.port))
    config = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    [job] = [each for each in config["scrape_configs"] if each["job_name"] == "cxstream-console"]
    [target] = job["dns_sd_configs"]
    assert (target["names"], target["port"]) == (["console"], console.metrics_port)
    # Prometheus asks by the name of the service, which is answered.
    assert "console" in console.hosts
    # A provider is named in the environment of Compose; where it is not, there is none.
    assert settings.oidc.issuer is None
    named = {"ISSUER": "https://id.example.org", "CLIENT_ID": "cx", "CLIENT_SECRET": "s", "ADMINS": '["cx"]'}
    for name, value in named.items():
        monkeypatch.setenv(f"CXSTREAM_OIDC__{name}", value)
    found = json.loads(compose("--profile", "console", "config", "--format", "json"))
    given = found["services"]["console"]["environment"]
    assert {name: given[f"CXSTREAM_OIDC__{name}"] for name in named} == named
    assert {name for name, value in given.items() if value is None} < {
        f"CXSTREAM_OIDC__{name.upper()}" for name in Oidc.model_fields
    }
    assert load().oidc.admins == ("cx",)
    assert f":{console.metrics_port}/readyz" in service["healthcheck"]["test"][-1]


def test_alertmanager_has_the_templates(services: dict[str, dict[str, Any]]) -> None:
    (pattern,) = yaml.safe_load((ROOT / "deploy/compose/alertmanager.yml").read_text())["templates"]
    targets = [volume["target"] for volume in services["alertmanager"]["volumes"]]
    assert [target for target in targets if Path(target).match(pattern)] == [
        "/etc/alertmanager/cxstream.tmpl"
    ]


# --- the image


def test_one_kafka_is_meant_everywhere() -> None:
    """The broker of Docker Compose, of `cxstream broker --docker`, and the version of the jars."""
    [image] = re.findall(r"image: (apache/kafka:\S+)", (ROOT / "docker-compose.yml").read_text())
    assert DockerKafka().image == image


def test_hadolint_has_nothing_to_say() -> None:
    program = tool("hadolint", "it comes with the development dependencies")
    result = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


def test_image_runs_the_kernels_that_it_compiled() -> None:
    _, build, run = DOCKERFILE.read_text().split("\nFROM ")
    name = re.compile(r"NUMBA_CPU_NAME=(\w+)")
    assert name.findall(build) == name.findall(run) == ["generic"]
    assert build.index("NUMBA_CPU_NAME") < build.index("compile_kernels()")
    # Machine code is found by the path of its sources.
    assert "COPY --from=build /opt/cxstream /opt/cxstream\n" in run


def test_image_is_built_from_what_is_let_in() -> None:
    allowed = {
        line[1:]
        for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == allowed
