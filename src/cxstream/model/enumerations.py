"""What a text field may say, once: the types are for checkers and schemas, the tuples for programs.

The order of a tuple is that of its numbers in saved state, columns and metrics: add at the end.
"""

from __future__ import annotations

from typing import Literal, get_args

Channel = Literal["web", "app", "call", "chat", "email", "store", "social", "crm"]
ContactChannel = Literal["call", "chat", "email", "store", "social"]
# A contact through one of these after a failed digital step is a channel switch.
SwitchChannel = Literal["call", "store", "social"]
Stage = Literal["awareness", "consideration", "purchase", "service", "loyalty"]
Level = Literal["none", "elevated", "high", "critical"]
# What happened to the level that the CRM knows.
Change = Literal["raised", "worsened", "eased", "cleared"]

CHANNELS: tuple[Channel, ...] = get_args(Channel)
CONTACT_CHANNELS: tuple[ContactChannel, ...] = get_args(ContactChannel)
SWITCH_CHANNELS: tuple[SwitchChannel, ...] = get_args(SwitchChannel)
STAGES: tuple[Stage, ...] = get_args(Stage)
LEVELS: tuple[Level, ...] = get_args(Level)
CHANGES: tuple[Change, ...] = get_args(Change)
