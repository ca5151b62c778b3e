"""Renders the Helm chart and checks what comes out as Kubernetes would, strictly: an unknown field is an error.

Kubernetes' own kinds are checked against the schemas that kubernetes-validate ships. Those of the Prometheus
operator and of KEDA come from their Go modules. Strimzi publishes its definitions in no package registry: what the
chart uses of them stands here.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy" / "helm" / "cxstream"
VALUES = sorted((CHART / "ci").glob("*.yaml"))

# The oldest that Chart.yaml admits, and a new one.
KUBERNETES = ("1.29", "1.35")
DEFINITIONS = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
}

Document = dict[str, Any]


def tool(name: str, get: str) -> str:
    """The path of a program in the virtual environment, or on the PATH.

    Where CI runs it has to be there; elsewhere the test is skipped without it.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        message = f"{name} is not there: {get}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm; its result, whatever it is."""
    command = [tool("helm", "make tools"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def template(values: Path | None = None, *more: str, chart: Path = CHART) -> list[Document]:
    """What the chart becomes with these values.

    Raises:
        AssertionError: helm does not render it; says why.
    """
    files = ["--values", str(values)] if values else []
    result = helm(
        "template", "cxstream", chart, "--namespace", "cx", "--kube-version", KUBERNETES[-1], *files, *more
    )
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.load_all(result.stdout, _Loader) if document]


def kinds(documents: Iterable[Document], kind: str) -> list[Document]:
    """Those of one kind."""
    return [document for document in documents if document["kind"] == kind]


def only(documents: Iterable[Document], kind: str, name: str | None = None) -> Document:
    """The one of its kind, or the one of its kind and name."""
    (found,) = [each for each in kinds(documents, kind) if name in {None, each["metadata"]["name"]}]
    return found


def validate(document: Document) -> None:
    """Check one document against the schema of its kind.

    Raises:
        AssertionError: there is no schema for its kind.
        jsonschema.ValidationError: it is not what its kind wants.
    """
    if "." not in document["apiVersion"].partition("/")[0] or "k8s.io" in document["apiVersion"]:
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)
        return
    schema = _custom().get((document["apiVersion"], document["kind"]))
    assert schema, f"no schema for {document['apiVersion']} {document['kind']}"
    jsonschema.Draft7Validator(schema).validate(document)


class _Loader(yaml.CSafeLoader):
    """Reads `=` as the text that it is in every other YAML library."""


_Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


@functools.cache
def _custom() -> dict[tuple[str, str], Document]:
    """Schemas of custom resources: {(apiVersion, kind): schema}."""
    found = dict(_STRIMZI)
    for module, paths in DEFINITIONS.items():
        for path in paths:
            definition = yaml.load((_module(module) / path).read_text(), _Loader)["spec"]
            for version in definition["versions"]:
                name = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
                found[name] = _closed(version["schema"]["openAPIV3Schema"])
    return found


@functools.cache
def _module(name: str) -> Path:
    command = [tool("go", "install Go, for the definitions of custom resources"), "mod", "download", "-json"]
    result = subprocess.run([*command, name], capture_output=True, text=True, check=True, timeout=300)
    return Path(json.loads(result.stdout)["Dir"])


def _closed(schema: Any) -> Any:
    """The schema, with fields that it does not name forbidden; Kubernetes would drop them in silence."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        closed["additionalProperties"] = False
    return closed


def _strimzi(kind: str, version: str, spec: Document) -> tuple[tuple[str, str], Document]:
    name = f"kafka.strimzi.io/{version}", kind
    fields = {"apiVersion": {"const": name[0]}, "kind": {"const": kind}, "metadata": {"type": "object"}}
    return name, _closed(
        {"type": "object", "required": [*fields, "spec"], "properties": {**fields, "spec": spec}}
    )


_TOPIC = {
    "type": "object",
    "properties": {
        "topicName": {"type": "string"},
        "partitions": {"type": "integer", "minimum": 1},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 32767},
        "config": {"type": "object"},
    },
}
_RULE = {
    "type": "object",
    "required": ["resource", "operations"],
    "properties": {
        "type": {"enum": ["allow", "deny"]},
        "host": {"type": "string"},
        "resource": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"enum": ["topic", "group", "cluster", "transactionalId"]},
                "name": {"type": "string"},
                "patternType": {"enum": ["literal", "prefix"]},
            },
        },
        "operations": {
            "type": "array",
            "items": {
                "enum": [
                    "Read", "Write", "Delete", "Alter", "Describe", "All", "IdempotentWrite", "ClusterAction",
                    "Create", "AlterConfigs", "DescribeConfigs",
                ]
            },
        },
    },
}  # fmt: skip
_USER = {
    "type": "object",
    "properties": {
        "authentication": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": ["tls", "tls-external", "scram-sha-512"]}},
        },
        "authorization": {
            "type": "object",
            "required": ["type", "acls"],
            "properties": {"type": {"enum": ["simple"]}, "acls": {"type": "array", "items": _RULE}},
        },
    },
}
_STRIMZI = dict(
    _strimzi(kind, version, spec)
    for version in ("v1", "v1beta2")
    for kind, spec in (("KafkaTopic", _TOPIC), ("KafkaUser", _USER))
)
