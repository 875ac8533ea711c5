"""A real PostgreSQL for the faults that depend on the database."""

from tests.ledger.conftest import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
