"""What producer, worker and trainer must agree on: settings, tables, messages, pixels and models."""

__version__ = "0.1.0"  # here alone; `make release` writes it
