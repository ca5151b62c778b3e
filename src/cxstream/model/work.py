"""What people do in the console, as CloudEvents, and their topics: work on customers, and who looked at whom.

A record of cx.work has the key CUSTOMER/ITEM and lies in the customer's partition. Kafka keeps the latest of each key: who is
assigned, until when the customer is snoozed, and each note. A record without a value ends its item.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from cxstream.model.outputs import Output

WORK_TYPE = "cx.work.v1"
AUDIT_TYPE = "cx.audit.v1"
CONSOLE = "/cxstream/console"
# The role of `cxstream.kafka.acls` that writes both.
WRITER = "console"
ASSIGNMENT, SNOOZE, NOTE = "assignment", "snooze", "note"
MAX_NOTE = 2000
"""Characters of a note."""


class WorkData(Struct, frozen=True, gc=False):
    """`data` of a record of cx.work.

    Attributes:
        item: what it says: who looks after the customer, until when they wait, or a note.
        by: who did it, by the name with which they signed in; empty where nobody signs in.
        assignee: of an assignment: who looks after the customer; null for nobody.
        until: of a snooze: when the customer waits again, UTC; null for now.
        text: of a note.
    """

    item: Literal["assignment", "snooze", "note"]
    by: str
    assignee: str | None = None
    until: str | None = None
    text: str | None = None


class Work(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag=WORK_TYPE):
    """What somebody did about a customer: took them on, let them wait, or left a note."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = CONSOLE
    subject: str
    time: Annotated[str, msgspec.Meta(description="When it was done, UTC.")]
    datacontenttype: Literal["application/json"] = "application/json"
    data: WorkData


class AuditData(Struct, frozen=True, gc=False):
    """`data` of an audit record.

    Attributes:
        action: looked, assigned, snoozed, noted, acted, erased (asked to), resent (rejected records), made_client, revoked_client.
        role: of the person; of the client.
        customer: whom it was about; null for a page about several or none.
        path: of the page or request; the name of the client.
        query: what was asked of it; empty for a change; of resent, which records.
    """

    action: Literal[
        "looked", "assigned", "snoozed", "noted", "acted", "erased", "resent", "made_client", "revoked_client"
    ]
    role: str
    customer: str | None
    path: str
    query: str


class Audit(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag=AUDIT_TYPE):
    """Who looked at whom in the console, or did what."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = CONSOLE
    subject: Annotated[str, msgspec.Meta(description="The person; the Kafka key equals it.")]
    time: Annotated[str, msgspec.Meta(description="When it was, UTC.")]
    datacontenttype: Literal["application/json"] = "application/json"
    data: AuditData


WORK = Output(
    "cx.work",
    "what people do in the console: assignments, snoozes, notes",
    "work",
    "Work on a customer",
    "work.v1.json",
    (("", Work),),
    "",
    key="customer and item",
    key_note="CUSTOMER/ITEM, where the item is assignment, snooze or note-ID. Without a value: ended.",
    readers=frozenset({"admin", "warehouse", WRITER}),
    # The warehouse ends the items of customers who were erased.
    writers=frozenset({WRITER, "warehouse"}),
)
AUDIT = Output(
    "cx.audit",
    "who looked at whom in the console, and who did what",
    "audit",
    "Audit record",
    "audit.v1.json",
    (("", Audit),),
    "",
    key="user",
    key_note="The person, as in `subject`.",
    keep_days=365,
    readers=frozenset({"admin"}),
    writers=frozenset({WRITER}),
)

_decode = msgspec.json.Decoder(Work).decode


def work_key(customer: str, item: str) -> bytes:
    """The key of an item of work in cx.work.

    >>> work_key("a/b", "note-7")
    b'a/b/note-7'
    """
    return f"{customer}/{item}".encode()


def customer_of(key: bytes) -> tuple[str, str]:
    """Customer and item of a key.

    Raises:
        ValueError: it is no key of cx.work.
    """
    customer, slash, item = key.decode().rpartition("/")
    kind, _, number = item.partition("-")
    if not slash or not customer or not (item in {ASSIGNMENT, SNOOZE} or (kind == NOTE and number)):
        raise ValueError("it is no key of cx.work")
    return customer, item


def read_work(key: bytes, value: bytes) -> tuple[str, Work]:
    """The item of a record of cx.work, and what it says.

    Raises:
        msgspec.MsgspecError: the value is none.
        ValueError: the key is none, or of another customer or item than the value.
    """
    customer, item = customer_of(key)
    work = _decode(value)
    if work.subject != customer or item.partition("-")[0] != work.data.item:
        raise ValueError("its key is of another customer or item")
    return item, work
