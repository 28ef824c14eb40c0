"""The schema that this program works with: apart from the tables, so that `--version` starts without them."""

SCHEMA = "0012"
"""The newest migration. A test holds it to the files in `shared/database/migrations`."""
