"""Sends what leaves the house, from the outbox in SQL: a service of its own."""
