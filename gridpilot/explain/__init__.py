"""Answers from the ledger, in sentences."""
