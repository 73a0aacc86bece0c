"""The sandbox's tables: money in integer hundredths, instants in integer milliseconds.

``seq`` is the order of creation, by which lists are sorted, newest first. Every list has an index to seek in.
"""

from __future__ import annotations

import re
from typing import Final

VERSION: Final = 2
SCHEMA: Final = f"""
CREATE TABLE resellers (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    api_key TEXT UNIQUE, enabled INTEGER NOT NULL, lookup_enabled INTEGER NOT NULL DEFAULT 1,
    balance INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE clients (
    seq INTEGER PRIMARY KEY, reseller INTEGER NOT NULL, id TEXT NOT NULL, first_name TEXT, last_name TEXT,
    email TEXT, phone_number TEXT, credits INTEGER NOT NULL CHECK (credits >= 0),
    created INTEGER NOT NULL, UNIQUE (reseller, id)
);
CREATE TABLE passes (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, description TEXT NOT NULL,
    price INTEGER NOT NULL, duration TEXT NOT NULL, provider_count INTEGER NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE pass_categories (
    pass INTEGER NOT NULL, type TEXT NOT NULL, tiers TEXT NOT NULL, credit_allocated INTEGER NOT NULL,
    visits_allowed INTEGER, PRIMARY KEY (pass, type)
) WITHOUT ROWID;
CREATE TABLE issued_passes (
    seq INTEGER PRIMARY KEY, client INTEGER NOT NULL, pass INTEGER NOT NULL, id TEXT NOT NULL,
    passcode TEXT NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0, transaction_id TEXT NOT NULL, tx_ref TEXT NOT NULL,
    start_date INTEGER NOT NULL, expires_at INTEGER NOT NULL, created INTEGER NOT NULL, UNIQUE (client, id)
);
CREATE INDEX issued_by_client ON issued_passes (client, seq);
CREATE TABLE issued_categories (
    issued INTEGER NOT NULL, type TEXT NOT NULL, visits_allowed INTEGER, visits_used INTEGER NOT NULL,
    PRIMARY KEY (issued, type)
) WITHOUT ROWID;
CREATE TABLE credit_packages (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, credits INTEGER NOT NULL,
    amount INTEGER NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, book TEXT NOT NULL, reseller INTEGER NOT NULL,
    client INTEGER NOT NULL, type TEXT NOT NULL, amount INTEGER NOT NULL, description TEXT NOT NULL,
    timestamp INTEGER NOT NULL, idempotency_key TEXT
);
CREATE INDEX entries_by_client ON entries (client, book, seq);
CREATE INDEX entries_by_reseller ON entries (reseller, book, seq);
CREATE TABLE idempotency (
    reseller INTEGER NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, status INTEGER NOT NULL,
    answer BLOB NOT NULL, request_id TEXT NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY (reseller, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (expires_at);
CREATE TABLE providers (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, category TEXT NOT NULL,
    tier TEXT NOT NULL, address TEXT NOT NULL, city TEXT NOT NULL, lat REAL NOT NULL, lon REAL NOT NULL,
    copay_available INTEGER NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE services (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, provider INTEGER NOT NULL, name TEXT NOT NULL,
    price INTEGER NOT NULL, in_credits INTEGER NOT NULL, duration_minutes INTEGER NOT NULL
);
CREATE TABLE copay_options (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, provider INTEGER NOT NULL, name TEXT NOT NULL,
    price INTEGER NOT NULL, duration TEXT NOT NULL, visits INTEGER NOT NULL, tier TEXT NOT NULL
);
CREATE INDEX options_by_provider ON copay_options (provider, seq);
CREATE TABLE class_categories (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE TABLE classes (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, description TEXT NOT NULL,
    category TEXT NOT NULL, provider INTEGER NOT NULL, credit_price INTEGER, created INTEGER NOT NULL
);
CREATE TABLE class_instances (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, class INTEGER NOT NULL, date TEXT NOT NULL,
    time TEXT NOT NULL, scheduled_for INTEGER NOT NULL, capacity INTEGER NOT NULL, taken INTEGER NOT NULL,
    instructor TEXT NOT NULL, CHECK (taken BETWEEN 0 AND capacity)
);
CREATE INDEX instances_by_class ON class_instances (class, scheduled_for);
CREATE TABLE bookings (
    seq INTEGER PRIMARY KEY, client INTEGER NOT NULL, reseller INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL, status TEXT NOT NULL, name TEXT NOT NULL, provider INTEGER NOT NULL, date TEXT NOT NULL,
    time TEXT NOT NULL, scheduled_for INTEGER NOT NULL, instance INTEGER, issued INTEGER, copay INTEGER,
    visits_deducted INTEGER NOT NULL, credits_spent INTEGER NOT NULL, created INTEGER NOT NULL
);
CREATE INDEX bookings_by_client ON bookings (client, seq);
CREATE UNIQUE INDEX spa_slots ON bookings (provider, date, time) WHERE type = 'spa' AND status = 'PENDING';
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, reseller INTEGER NOT NULL, client INTEGER NOT NULL, outcome TEXT NOT NULL,
    issued INTEGER, instance INTEGER, provider INTEGER NOT NULL, services TEXT, date TEXT, time TEXT,
    amount INTEGER NOT NULL, expires_at INTEGER NOT NULL, booking TEXT
);
CREATE TABLE quotes (
    id TEXT PRIMARY KEY, client INTEGER NOT NULL, provider INTEGER NOT NULL, services TEXT NOT NULL,
    amount INTEGER NOT NULL, expires_at INTEGER NOT NULL
);
CREATE TABLE copay_purchases (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, client INTEGER NOT NULL, provider INTEGER NOT NULL,
    services TEXT, amount INTEGER NOT NULL, visits_left INTEGER NOT NULL, created INTEGER NOT NULL
);
CREATE INDEX copay_by_client ON copay_purchases (client, provider);
CREATE TABLE access_codes (
    code TEXT PRIMARY KEY, client INTEGER NOT NULL, provider INTEGER, expires_at INTEGER NOT NULL,
    used_at INTEGER
);
CREATE TABLE lookups (
    id TEXT PRIMARY KEY, reseller INTEGER NOT NULL, issuer INTEGER NOT NULL, client INTEGER NOT NULL,
    code TEXT NOT NULL, code_expires_at INTEGER NOT NULL, token TEXT UNIQUE, token_expires_at INTEGER
);
PRAGMA user_version = {VERSION};
"""
TABLES: Final = tuple(re.findall(r"CREATE TABLE (\w+)", SCHEMA))
