"""SQLite files that survive: opened, checked, migrated, mended and backed up in one way (docs/architecture.md)."""

from streamserver.durable.backup import back_up, backup_due, backup_of
from streamserver.durable.damage import Damage, note, noted, recent_damage
from streamserver.durable.files import (
    TROUBLE,
    Connection,
    Hold,
    connect,
    connect_to_read,
    is_damage,
    is_full,
    settle,
    store_error,
    tolerant_text,
    transaction,
)
from streamserver.durable.opening import Opened, open_database
from streamserver.durable.salvage import Salvage, readable_rows
from streamserver.durable.schema import Schema

__all__ = [
    "TROUBLE",
    "Connection",
    "Damage",
    "Hold",
    "Opened",
    "Salvage",
    "Schema",
    "back_up",
    "backup_due",
    "backup_of",
    "connect",
    "connect_to_read",
    "is_damage",
    "is_full",
    "note",
    "noted",
    "open_database",
    "readable_rows",
    "recent_damage",
    "settle",
    "store_error",
    "tolerant_text",
    "transaction",
]
