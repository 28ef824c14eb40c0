"""Accounts, what is logged in, and API tokens: who somebody is, by what a browser or a program shows."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from shared.base.account_names import name_key
from shared.database import AccountRow, ApiToken, LoginMethod, OneTimeLink, Role, WebSession

IDLE = timedelta(minutes=15)
"""A session that no person used for so long is over."""
LONGEST = timedelta(hours=12)
"""A session is over after so long even if it is used."""


@dataclass(frozen=True)
class Account:
    """Somebody who is logged in."""

    id: int
    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Everybody reads; a senior's and an admin's deeds are theirs alone."""
        return role == Role.READER or self.role == role


@dataclass(frozen=True)
class LoggedIn:
    """An account and the session by which it is known."""

    account: Account
    session: int
    csrf_token: str
    method: LoginMethod
    seen_at: datetime


@dataclass(frozen=True)
class AccountListing:
    id: int
    name: str
    role: Role
    has_password: bool
    has_open_link: bool
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    last_seen_at: datetime | None

    @property
    def state(self) -> str:
        if self.disabled_at is not None:
            return "disabled"
        if self.has_open_link:
            return "has a link to choose a password"
        return "active" if self.has_password else "no password"


@dataclass(frozen=True)
class SessionListing:
    id: int
    method: LoginMethod
    address: str
    created_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class TokenListing:
    id: int
    name: str
    created_at: datetime
    used_at: datetime | None


@dataclass(frozen=True)
class LinkTarget:
    """What a one-time link opens."""

    id: int
    account: Account
    expires_at: datetime


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def find_account(session: Session, name: str) -> AccountRow | None:
    """Also one that is disabled."""
    return session.scalar(select(AccountRow).where(AccountRow.name_key == name_key(name)))


def find_session(session: Session, token: str, now: datetime) -> LoggedIn | None:
    """None for a token that is unknown, revoked, or unused for too long, and for one of a disabled account."""
    found = session.execute(
        select(WebSession, AccountRow)
        .join(AccountRow, AccountRow.id == WebSession.account_id)
        .where(
            WebSession.token_sha256 == digest(token),
            WebSession.revoked_at.is_(None),
            WebSession.seen_at > now - IDLE,
            WebSession.created_at > now - LONGEST,
            AccountRow.disabled_at.is_(None),
        )
    ).first()
    if found is None:
        return None
    row, account = found
    return LoggedIn(as_account(account), row.id, row.csrf_token, LoginMethod(row.method), row.seen_at)


def logged_in_at(session: Session, number: int) -> datetime | None:
    """When a session began."""
    return session.scalar(select(WebSession.created_at).where(WebSession.id == number))


def find_token(session: Session, token: str) -> tuple[ApiToken, Account] | None:
    found = session.execute(
        select(ApiToken, AccountRow)
        .join(AccountRow, AccountRow.id == ApiToken.account_id)
        .where(ApiToken.token_sha256 == digest(token), ApiToken.revoked_at.is_(None), AccountRow.disabled_at.is_(None))
    ).first()
    return (found[0], as_account(found[1])) if found else None


def find_link(session: Session, token: str, now: datetime) -> LinkTarget | None:
    """None for a link that is unknown, used or too old, and for one of a disabled account."""
    found = session.execute(
        select(OneTimeLink, AccountRow)
        .join(AccountRow, AccountRow.id == OneTimeLink.account_id)
        .where(
            OneTimeLink.token_sha256 == digest(token),
            OneTimeLink.used_at.is_(None),
            OneTimeLink.expires_at > now,
            AccountRow.disabled_at.is_(None),
        )
    ).first()
    return LinkTarget(found[0].id, as_account(found[1]), found[0].expires_at) if found else None


def list_accounts(session: Session, now: datetime) -> list[AccountListing]:
    """All of them, by name."""
    seen: dict[int, datetime] = {}
    for account, at in session.execute(select(WebSession.account_id, WebSession.seen_at)):
        seen[account] = max(at, seen.get(account, at))
    links = set(
        session.scalars(
            select(OneTimeLink.account_id).where(OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
        )
    )
    return [
        AccountListing(
            id=row.id,
            name=row.name,
            role=Role(row.role),
            has_password=row.password_hash is not None,
            has_open_link=row.id in links,
            created_at=row.created_at,
            created_by=row.created_by,
            disabled_at=row.disabled_at,
            last_seen_at=seen.get(row.id),
        )
        for row in session.scalars(select(AccountRow).order_by(AccountRow.name_key))
    ]


def list_sessions(session: Session, account: int, now: datetime) -> list[SessionListing]:
    """Those that are open, the newest first."""
    rows = session.scalars(open_sessions(account, now).order_by(WebSession.id.desc()))
    return [SessionListing(row.id, LoginMethod(row.method), row.address, row.created_at, row.seen_at) for row in rows]


def open_sessions(account: int, now: datetime) -> Select[WebSession]:
    return select(WebSession).where(
        WebSession.account_id == account,
        WebSession.revoked_at.is_(None),
        WebSession.seen_at > now - IDLE,
        WebSession.created_at > now - LONGEST,
    )


def list_tokens(session: Session, account: int) -> list[TokenListing]:
    rows = session.scalars(
        select(ApiToken).where(ApiToken.account_id == account, ApiToken.revoked_at.is_(None)).order_by(ApiToken.id)
    )
    return [TokenListing(row.id, row.name, row.created_at, row.used_at) for row in rows]


def as_account(row: AccountRow) -> Account:
    return Account(row.id, row.name, Role(row.role))
