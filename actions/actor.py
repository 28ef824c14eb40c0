"""Who does it: one rule for every command, since each writes the actor's name into the audit log."""

import getpass

from shared.base.errors import InvalidRequest
from shared.ledger.register import as_text


def named(by: str | None) -> str:
    """The actor where a name is required; raises InvalidRequest if there is none."""
    name = as_text((by or "").strip())[0]
    if not name:
        raise InvalidRequest("missing actor: use --by NAME")
    return name


def named_or_user(by: str | None) -> str:
    """The actor where a name is optional: without one, the user of the operating system."""
    return _user() if by is None else named(by)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        return "unknown"
