"""The AsyncAPI 3.0 document: all topics with their keys, payloads and Kafka configuration, out of `topology`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cxstream import topology
from cxstream.model.kinds import Kind
from cxstream.model.outputs import OUTPUTS
from cxstream.model.place_signals import INSIGHTS
from cxstream.model.scored import CONTENT_TYPE
from cxstream.model.work import AUDIT, WORK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cxstream.topology import Topic

Json = dict[str, Any]

_BINDING = "0.5.0"
_STRUCTURED = "application/cloudevents+json"

_TEXT: Json = {"type": "string"}
_REJECTED_HEADERS: Json = {
    "type": "object",
    "required": ["reason", "field", "topic", "partition", "offset"],
    "properties": {
        "reason": {"enum": ["malformed", "invalid", "from_the_future", "too_late"]},
        "field": {"type": "string", "description": "Path of the field; empty where there is none."},
        "topic": {"type": "string", "description": "Where the record came from."},
        "partition": {"type": "string", "description": "A decimal number."},
        "offset": {"type": "string", "description": "A decimal number."},
    },
}

_SCORED_HEADERS: Json = {
    "type": "object",
    "required": ["rows"],
    "properties": {
        "rows": {"type": "string", "description": "A decimal number: the rows of the record."},
        "content-type": {"const": CONTENT_TYPE},
    },
}

_RESENT_HEADERS: Json = {
    **_REJECTED_HEADERS,
    "properties": {**_REJECTED_HEADERS["properties"], "reason": {"const": topology.RESENT}},
}


def document(own: Iterable[str] = ()) -> Json:
    """The AsyncAPI document; payloads refer to the JSON Schemas beside it.

    Args:
        own: kinds of the company's own.
    """
    topics = [_with(topic, tuple(own)) for topic in topology.TOPICS]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "cxstream",
            "version": "1.0.0",
            "description": "Touchpoints in; customer effort, satisfaction and churn-risk signals out."
            " All events are CloudEvents 1.0; touchpoints may come in the binary content mode, too.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": _STRUCTURED,
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "The Kafka cluster that `CXSTREAM_KAFKA` names.",
                "variables": {
                    "bootstrap": {"default": "localhost:9092", "description": "HOST:PORT of a broker."}
                },
            }
        },
        "channels": {_id(topic): _channel(topic) for topic in topics},
        "operations": {f"{topic.flow}-{_id(topic)}": _operation(topic) for topic in topics},
        "components": {"messages": _messages(own)},
    }


def _with(topic: Topic, own: tuple[str, ...]) -> Topic:
    """A topic with the company's own kinds, if it has touchpoints."""
    return replace(topic, payloads=(*topic.payloads, *own)) if topic is topology.TOUCHPOINTS else topic


def _id(topic: Topic) -> str:
    return topic.name.removeprefix("cx.")


def _channel(topic: Topic) -> Json:
    binding: Json = {"topicConfiguration": _configuration(topic.config), "bindingVersion": _BINDING}
    return {
        "address": topic.name,
        "description": f"{topic.holds}; keyed by: {topic.key}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.payloads},
        "bindings": {"kafka": binding},
    }


def _configuration(config: dict[str, str]) -> Json:
    return {name: _typed(name, value) for name, value in config.items()}


def _typed(name: str, value: str) -> str | int | list[str]:
    if name == "cleanup.policy":
        return value.split(",")
    return int(value) if value.lstrip("-").isdigit() else value


def _operation(topic: Topic) -> Json:
    channel = f"#/channels/{_id(topic)}"
    return {
        "action": topic.flow,
        "channel": {"$ref": channel},
        "summary": f"{topic.holds[0].upper()}{topic.holds[1:]}.",
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in topic.payloads],
    }


def _messages(own: Iterable[str]) -> Json:
    customer = "The customer, as in `subject`."
    found = {
        label: _message(f"Touchpoint: {label}", f"touchpoints/{label}.v1.json", customer)
        for label in (*(kind.label for kind in Kind), *own)
    }
    found["tick"] = _message(
        "Tick", "tick.v1.json", "None: a tick is written to each partition directly.", keyed=False
    )
    found["rules"] = _message(
        "Rules", "rules.v1.json", "None: a set of rules is written to each partition directly.", keyed=False
    )
    found["change"] = _message("Change of the experience", "change.v1.json", "The source, as in `source`.")
    for each in (*OUTPUTS, INSIGHTS, WORK, AUDIT):
        found[each.payload] = _message(each.title, each.schema, each.key_note)
    found["forget"] = _message(
        "Request to be erased", "forget.v1.json", f"{customer} On cx.forget it is enough."
    )
    found["rejected"] = {
        **_message("Rejected record, byte for byte", _TEXT, "The key it came with."),
        "contentType": "application/octet-stream",
        "headers": _REJECTED_HEADERS,
    }
    found["resent"] = {
        **_message(
            "Marker: the record from that place has been sent again",
            {"type": "null"},
            "The key it came with.",
        ),
        "contentType": "application/octet-stream",
        "headers": _RESENT_HEADERS,
    }
    found["scored"] = {
        **_message(
            "Accepted touchpoints with what they counted for: an Arrow IPC stream of one batch of rows, see docs/scored.md",
            _TEXT,
            "None: the partition has the number of the touchpoints' own.",
            keyed=False,
        ),
        "contentType": CONTENT_TYPE,
        "headers": _SCORED_HEADERS,
    }
    found["snapshot"] = {
        **_message("Saved state, a cache of what the log says", _TEXT, customer),
        "contentType": "application/octet-stream",
    }
    return found


def _message(title: str, payload: str | Json, key: str, *, keyed: bool = True) -> Json:
    return {
        "title": title,
        "payload": {"$ref": f"./{payload}"} if isinstance(payload, str) else payload,
        "bindings": {
            "kafka": {
                "key": {"type": "string" if keyed else "null", "description": key},
                "bindingVersion": _BINDING,
            }
        },
    }
