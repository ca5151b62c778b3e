"""From the id that a person types to where Kafka has the customer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.kafka.producer import route
from cxstream.model.errors import InputError
from cxstream.model.fields import MAX_SUBJECT

if TYPE_CHECKING:
    from cxstream.settings import Settings


@dataclass(frozen=True, slots=True)
class Identity:
    """A customer.

    Attributes:
        id: as the sources call him; the key of cx.touchpoints.
        subject: as the outputs call him; their key.
        partition: his partition, in every topic.
    """

    id: str
    subject: str
    partition: int


def output_subject(settings: Settings, customer: str) -> str:
    """What the outputs call a customer: his id, or his pseudonym where there is a key."""
    pseudonyms = settings.privacy.pseudonyms()
    return customer if pseudonyms is None else pseudonyms[customer]


def identify(settings: Settings, customer: str, partitions: int) -> Identity:
    """Find a customer's place.

    Args:
        settings: of this installation.
        customer: his id.
        partitions: how many cx.touchpoints has.

    Raises:
        InputError: it is no id.
    """
    if not 1 <= len(customer) <= MAX_SUBJECT:
        raise InputError(f"a customer id has 1 to {MAX_SUBJECT} characters, this one has {len(customer)}")
    partition = route([customer.encode()], partitions)[0]
    return Identity(customer, output_subject(settings, customer), partition)
