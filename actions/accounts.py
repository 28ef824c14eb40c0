"""Deeds of an admin: accounts, and the one-time links by which people choose their passwords.

No password passes through an admin's hands. What is done here needs rights that the web service's own role has not.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from actions.sessions import revoke_sessions
from queries.accounts import as_account, digest, find_account
from shared.base.account_names import name_key
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import AccountRow, ApiToken, LinkPurpose, OneTimeLink, Role, audit

MAX_NAME = 64
LINK_HOLDS = timedelta(days=3)
FIRST = "admin"
"""The account that `up` makes where there is none."""


@dataclass(frozen=True)
class NewLink:
    """`token` is told once, to whoever asked for it."""

    name: str
    role: Role
    token: str
    expires_at: datetime

    @property
    def path(self) -> str:
        return f"/link/{self.token}"


def parse_role(text: str) -> Role:
    try:
        return Role(text.strip().lower())
    except ValueError:
        raise InvalidRequest(f"a role is {', '.join(Role)}, not {text!r}") from None


def parse_name(text: str) -> str:
    """Raises InvalidRequest for what is no name: it stands in every review."""
    name = " ".join(text.split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidRequest(f"An account needs a name of at most {MAX_NAME} printable characters, as 'Dr. Okafor'.")
    return name


def add(session: Session, name: str, role: Role, actor: str, now: datetime) -> NewLink:
    """A new account, and the link by which its owner chooses a password. Raises WorkFailed if the name is taken."""
    name = parse_name(name)
    if find_account(session, name) is not None:
        raise WorkFailed(f"There is an account {name!r} already, perhaps disabled: names are never given to another.")
    row = AccountRow(name=name, name_key=name_key(name), role=role, created_at=now, created_by=actor)
    session.add(row)
    session.flush()
    audit.record(session, actor, "add account", f"account {row.id}: {role}", at=now)
    return _new_link(session, row, LinkPurpose.FIRST, actor, now)


def add_first(session: Session, actor: str, now: datetime) -> NewLink | None:
    """The account of whoever starts a fresh system; None where there is an account already."""
    if session.scalar(select(func.count()).select_from(AccountRow)):
        return None
    return add(session, FIRST, Role.ADMIN, actor, now)


def reset(session: Session, name: str, actor: str, now: datetime) -> NewLink:
    """A link by which the password is chosen anew; until it is used the old one holds. Raises WorkFailed."""
    row = _known(session, name)
    if row.disabled_at is not None:
        raise WorkFailed(f"The account {row.name!r} is disabled: enable it first (`pneumoscreen users enable`).")
    audit.record(session, actor, "reset password", f"account {row.id}", at=now)
    return _new_link(session, row, LinkPurpose.FIRST if row.password_hash is None else LinkPurpose.RESET, actor, now)


def _new_link(session: Session, row: AccountRow, purpose: LinkPurpose, actor: str, now: datetime) -> NewLink:
    """Earlier links of the account are over."""
    unused = (OneTimeLink.account_id == row.id, OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
    session.execute(update(OneTimeLink).where(*unused).values(expires_at=now))
    token = secrets.token_urlsafe(32)
    session.add(
        OneTimeLink(
            token_sha256=digest(token),
            account_id=row.id,
            purpose=purpose,
            created_at=now,
            created_by=actor,
            expires_at=now + LINK_HOLDS,
        )
    )
    return NewLink(row.name, Role(row.role), token, now + LINK_HOLDS)


def disable(session: Session, name: str, actor: str, now: datetime) -> str:
    """Ends the account's sessions, tokens and links at once; its words stay. Returns its name. Raises WorkFailed."""
    row = _known(session, name)
    if row.disabled_at is not None:
        raise WorkFailed(f"The account {row.name!r} is disabled already.")
    _keep_an_admin(session, row)
    row.disabled_at, row.disabled_by = now, actor
    revoke_sessions(session, as_account(row), actor, now)
    of_account = (ApiToken.account_id == row.id, ApiToken.revoked_at.is_(None))
    session.execute(update(ApiToken).where(*of_account).values(revoked_at=now))
    unused = (OneTimeLink.account_id == row.id, OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
    session.execute(update(OneTimeLink).where(*unused).values(expires_at=now))
    audit.record(session, actor, "disable account", f"account {row.id}", at=now)
    return row.name


def enable(session: Session, name: str, actor: str, now: datetime) -> str:
    row = _known(session, name)
    if row.disabled_at is None:
        raise WorkFailed(f"The account {row.name!r} is not disabled.")
    row.disabled_at, row.disabled_by = None, None
    audit.record(session, actor, "enable account", f"account {row.id}", at=now)
    return row.name


def set_role(session: Session, name: str, role: Role, actor: str, now: datetime) -> str:
    """Words keep the role in which they were given."""
    row = _known(session, name)
    if row.role == Role.ADMIN and role != Role.ADMIN:
        _keep_an_admin(session, row)
    row.role = role
    audit.record(session, actor, "change role", f"account {row.id}: {role}", at=now)
    return row.name


def _keep_an_admin(session: Session, row: AccountRow) -> None:
    admins = (AccountRow.role == Role.ADMIN, AccountRow.disabled_at.is_(None), AccountRow.id != row.id)
    if row.role == Role.ADMIN and not session.scalar(select(func.count()).select_from(AccountRow).where(*admins)):
        raise WorkFailed(f"{row.name!r} is the only admin: make another one first.")


def _known(session: Session, name: str) -> AccountRow:
    row = find_account(session, name)
    if row is None:
        raise WorkFailed(f"There is no account {name!r}: `pneumoscreen users list` shows all.")
    return row
