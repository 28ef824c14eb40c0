"""The `pneumoscreen` command."""
