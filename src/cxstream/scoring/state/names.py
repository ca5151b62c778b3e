"""Customers to slots and topics to numbers; both are reused after they are released."""

from __future__ import annotations

import hashlib

MAX_TOPIC = 256


class Slots:
    """Customers and their slots.

    A slot stays with its customer until `release`, because within a batch the kernel may expire a customer who
    then comes back.
    """

    __slots__ = ("free", "names", "of", "top")

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.names: list[str] = []
        self.free: list[int] = []
        self.top = 0

    def take(self, subject: str) -> int:
        """Give `subject` a slot."""
        if self.free:
            slot = self.free.pop()
            self.names[slot] = subject
        else:
            slot = self.top
            self.top += 1
            self.names.append(subject)
        self.of[subject] = slot
        return slot

    def fill(self, subjects: list[str]) -> None:
        """Assign the slots 0, 1, 2, ... in order; no slot is assigned yet."""
        self.names = subjects
        self.of = dict(zip(subjects, range(len(subjects)), strict=True))
        self.top = len(subjects)

    def release(self, slot: int) -> str:
        """Release the slot; returns whose it was."""
        subject = self.names[slot]
        del self.of[subject]
        self.names[slot] = ""
        self.free.append(slot)
        return subject


class Topics:
    """Contact topics as small numbers; topics that no customer references any more are deleted."""

    __slots__ = ("free", "of", "texts")

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.texts: list[str] = []
        self.free: list[int] = []

    def number(self, topic: str) -> int:
        """The number of `topic`; a long topic is shortened to its beginning and a digest."""
        if len(topic) > MAX_TOPIC:
            topic = f"{topic[:200]}... {hashlib.blake2b(topic.encode(), digest_size=12).hexdigest()}"
        found = self.of.get(topic)
        if found is not None:
            return found
        if self.free:
            number = self.free.pop()
            self.texts[number] = topic
        else:
            number = len(self.texts)
            self.texts.append(topic)
        self.of[topic] = number
        return number

    def release(self, number: int) -> None:
        """Delete the topic."""
        del self.of[self.texts[number]]
        self.texts[number] = ""
        self.free.append(number)
