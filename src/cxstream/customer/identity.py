"""From the id on the command line to the customer's partition."""

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
        id: the id in the sources; the key of cx.touchpoints.
        subject: the id in the outputs; their key.
        partition: the customer's partition, in every topic.
    """

    id: str
    subject: str
    partition: int


def output_subject(settings: Settings, customer: str) -> str:
    """The id of a customer in the outputs: their own, or their pseudonym if there is a key."""
    pseudonyms = settings.privacy.pseudonyms()
    return customer if pseudonyms is None else pseudonyms[customer]


def identify(settings: Settings, customer: str, partitions: int) -> Identity:
    """Find a customer's partition.

    Args:
        settings: of this installation.
        customer: the customer's id.
        partitions: how many cx.touchpoints has.

    Raises:
        InputError: the id is invalid.
    """
    if not 1 <= len(customer) <= MAX_SUBJECT:
        raise InputError(f"a customer id has 1 to {MAX_SUBJECT} characters, this one has {len(customer)}")
    partition = route([customer.encode()], partitions)[0]
    return Identity(customer, output_subject(settings, customer), partition)
