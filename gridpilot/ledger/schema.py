"""The ledger's tables, for SQLite and PostgreSQL alike.

`entries` is append-only: `engine.protect_entries` has the database abort UPDATE and DELETE. Times are
fixed-width UTC text, so that they sort as they are; prices carry epoch seconds, so that they become arrays
without parsing. Whoever changes a table here adds a step to `migrate.STEPS`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

SCHEMA_VERSION = 3

metadata = MetaData()

schema_info = Table("schema_info", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

entries = Table(
    "entries",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("cycle_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("entries_kind", "kind", "seq", "at"),  # `at` too: the newest of a kind since a time, from the index alone
    Index("entries_cycle", "cycle_id", "seq"),
    Index("entries_at", "at"),
)

prices = Table(
    "prices",
    metadata,
    Column("id", Integer, primary_key=True),  # rises with each revision: the highest one of a timestamp holds
    Column("source", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # epoch seconds of the interval's start
    Column("energy_usd_per_mwh", Double, nullable=False),
    Column("hash_price", Double),  # in the source's unit; NULL where it has none
    Column("token_price", Double),
    Column("recorded_at", Text, nullable=False),
    Column("extra", Text),  # canonical JSON of the source's further columns; NULL where it has none
    Index("prices_source", "source", "timestamp", "id"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created_at", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),  # canonical JSON
    Column("valid_until", Text, nullable=False),
    Column("base_version", Integer, nullable=False),
    Column("status", Text, nullable=False),  # pending accepted refused active expired released superseded
    Column("detail", Text, nullable=False),
    Index("commands_status", "status", "id"),
)

state = Table(
    "state",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),  # canonical JSON
    Column("version", Integer, nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("token", Integer, nullable=False),  # rises with each new holder, and never falls
    Column("expires_at", Text, nullable=False),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("code", Text, nullable=False),
    Column("subject", Text, nullable=False),  # what of several it is about; empty where the code says all
    Column("severity", Text, nullable=False),  # warn alarm
    Column("message", Text, nullable=False),
    Column("advice", Text, nullable=False),
    Column("listed", Integer, nullable=False),  # 1 until it is over and nothing is left to do about it
    Column("times", Integer, nullable=False),  # how often it came while it was listed
    Column("first_seen", Text, nullable=False),  # wall clock, as all times of this table
    Column("last_seen", Text, nullable=False),
    Column("cleared_at", Text),  # when the condition went away; NULL while it holds
    Column("acknowledged_at", Text),
    Column("acknowledged_by", Text),
    Column("shelved_until", Text),
    Column("shelved_by", Text),
    Column("shelved_why", Text),
    Index("alarms_listed", "listed", "id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created_at", Text, nullable=False),
    Column("body", Text, nullable=False),  # canonical JSON, sent as it is
    Column("status", Text, nullable=False),  # waiting delivered failed
    Column("tries", Integer, nullable=False),
    Column("next_at", Text, nullable=False),  # not tried before
    Column("detail", Text, nullable=False),  # what the newest try said
    Index("outbox_status", "status", "id"),
)
