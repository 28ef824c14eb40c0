"""Logging in and out. Whoever fails learns nothing: neither whether there is such an account, nor whether it is locked.

An attempt is written before the password is checked, as a failed one, so that many at once are counted, too.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from actions import passwords
from queries.accounts import Account, LoggedIn, as_account, digest, find_account, find_link
from shared.base.account_names import name_key
from shared.base.errors import InvalidRequest
from shared.database import (
    AccountRow,
    ApiToken,
    Database,
    LoginAttempt,
    LoginMethod,
    OneTimeLink,
    WebSession,
    audit,
)

LOCKED_FOR = timedelta(minutes=15)
MAX_OF_NAME, MAX_OF_ADDRESS = 5, 30
"""Failures within LOCKED_FOR after which nobody gets in by that name, or from that address."""
TOUCH_EVERY = timedelta(seconds=30)
"""How exactly it is known when a session was last used: a row is not written for each request."""
KEPT_FOR = timedelta(days=30)
"""What is over is deleted then; the audit log keeps who logged in."""


@dataclass(frozen=True)
class NewSession:
    """`token` is told once, to the browser, which keeps it in a cookie."""

    token: str
    account: Account


def log_in(database: Database, name: str, password: str, address: str, now: datetime) -> NewSession | None:
    """None if the name or the password is wrong, the account is disabled, or too many attempts failed."""
    with database.write() as session:
        attempt = LoginAttempt(at=now, name_sha256=digest(name_key(name)), address=address, succeeded=False)
        session.add(attempt)
        session.flush()
        is_locked = _is_locked(session, attempt, now)
        row = find_account(session, name)
        hashed = row.password_hash if row and row.disabled_at is None else None
        attempt_id = attempt.id
    if is_locked or not passwords.is_right(hashed, password):
        return None
    with database.write() as session:
        row = find_account(session, name)
        if row is None or row.disabled_at is not None or row.password_hash != hashed:
            return None  # it was disabled, or its password changed, in this moment
        session.execute(update(LoginAttempt).where(LoginAttempt.id == attempt_id).values(succeeded=True))
        _delete_old(session, now)
        return open_session(session, row, LoginMethod.PASSWORD, address, now)


def _is_locked(session: Session, attempt: LoginAttempt, now: datetime) -> bool:
    failed = (LoginAttempt.at > now - LOCKED_FOR, ~LoginAttempt.succeeded, LoginAttempt.id < attempt.id)
    of_name = LoginAttempt.name_sha256 == attempt.name_sha256
    last_success = select(func.coalesce(func.max(LoginAttempt.id), 0)).where(of_name, LoginAttempt.succeeded)
    count = select(func.count()).select_from(LoginAttempt)
    by_name = session.scalar(count.where(of_name, *failed, LoginAttempt.id > last_success.scalar_subquery())) or 0
    by_address = session.scalar(count.where(LoginAttempt.address == attempt.address, *failed)) or 0
    return by_name >= MAX_OF_NAME or by_address >= MAX_OF_ADDRESS


def _delete_old(session: Session, now: datetime) -> None:
    session.execute(delete(LoginAttempt).where(LoginAttempt.at < now - KEPT_FOR))
    session.execute(delete(WebSession).where(WebSession.created_at < now - KEPT_FOR))


def open_session(session: Session, account: AccountRow, method: LoginMethod, address: str, now: datetime) -> NewSession:
    token = secrets.token_urlsafe(32)
    row = WebSession(
        token_sha256=digest(token),
        account_id=account.id,
        csrf_token=secrets.token_urlsafe(32),
        method=method,
        address=address,
        created_at=now,
        seen_at=now,
    )
    session.add(row)
    session.flush()
    audit.record(session, account.name, "log in", f"session {row.id}, by {method}", at=now)
    return NewSession(token, as_account(account))


def admit_by_proxy(database: Database, name: str, address: str, now: datetime) -> NewSession | None:
    """A session of somebody whom the trusted proxy has named; None if there is no such account, or it is disabled."""
    with database.write() as session:
        row = find_account(session, name)
        if row is None or row.disabled_at is not None:
            return None
        return open_session(session, row, LoginMethod.PROXY, address, now)


def touch(database: Database, who: LoggedIn, now: datetime) -> None:
    """Note that the session is in use."""
    if now - who.seen_at < TOUCH_EVERY:
        return
    with database.write() as session:
        session.execute(update(WebSession).where(WebSession.id == who.session).values(seen_at=now))


def log_out(session: Session, who: LoggedIn, now: datetime) -> None:
    _revoke(session, who.account.id, now, only=who.session)
    audit.record(session, who.account.name, "log out", f"session {who.session}", at=now)


def revoke_sessions(session: Session, account: Account, actor: str, now: datetime, *, keep: int | None = None) -> int:
    """End all sessions of an account but one; returns how many."""
    count = _revoke(session, account.id, now, keep=keep)
    audit.record(session, actor, "revoke sessions", f"account {account.id}: {count}", at=now)
    return count


def revoke_session(session: Session, account: Account, number: int, now: datetime) -> None:
    """End one of one's own sessions; raises InvalidRequest if there is none of that number."""
    if not _revoke(session, account.id, now, only=number):
        raise InvalidRequest("There is no such session of yours: it is over already.")
    audit.record(session, account.name, "revoke sessions", f"account {account.id}: 1", at=now)


def _revoke(session: Session, account: int, now: datetime, *, only: int | None = None, keep: int | None = None) -> int:
    change = update(WebSession).where(WebSession.account_id == account, WebSession.revoked_at.is_(None))
    if only is not None:
        change = change.where(WebSession.id == only)
    if keep is not None:
        change = change.where(WebSession.id != keep)
    return int(session.execute(change.values(revoked_at=now)).rowcount)  # type: ignore[attr-defined]


def change_password(database: Database, who: LoggedIn, old: str, new: str, now: datetime) -> None:
    """Raises InvalidRequest if the old one is wrong or the new one is none. All other sessions of the account end."""
    passwords.check_new(new, who.account.name)
    with database.read() as session:
        row = session.get(AccountRow, who.account.id)
        hashed = row.password_hash if row else None
    if not passwords.is_right(hashed, old):
        raise InvalidRequest("The present password is wrong.")
    changed = passwords.hash_password(new)
    with database.write() as session:
        _set_password(session, who.account, changed, now)
        _revoke(session, who.account.id, now, keep=who.session)


def use_link(database: Database, token: str, password: str, address: str, now: datetime) -> NewSession:
    """Choose the password by a one-time link, and log in. Raises InvalidRequest if the link is used, old or unknown."""
    with database.read() as session:
        target = find_link(session, token, now)
    if target is None:
        raise _no_link()
    passwords.check_new(password, target.account.name)
    hashed = passwords.hash_password(password)
    with database.write() as session:
        used = session.execute(
            update(OneTimeLink).where(OneTimeLink.id == target.id, OneTimeLink.used_at.is_(None)).values(used_at=now)
        )
        row = session.get(AccountRow, target.account.id)
        if not used.rowcount or row is None or row.disabled_at is not None:  # type: ignore[attr-defined]
            raise _no_link()
        _set_password(session, target.account, hashed, now)
        _revoke(session, row.id, now)
        # A success, which lifts the lock-out by failures before it.
        session.add(LoginAttempt(at=now, name_sha256=digest(row.name_key), address=address, succeeded=True))
        return open_session(session, row, LoginMethod.LINK, address, now)


def _no_link() -> InvalidRequest:
    return InvalidRequest("This link was used, or is too old: ask an admin for a new one (`pneumoscreen users reset`).")


def _set_password(session: Session, account: Account, hashed: str, now: datetime) -> None:
    session.execute(update(AccountRow).where(AccountRow.id == account.id).values(password_hash=hashed, password_at=now))
    audit.record(session, account.name, "change password", f"account {account.id}", at=now)


@dataclass(frozen=True)
class NewToken:
    """`token` is told once."""

    token: str
    name: str


MAX_TOKENS, MAX_TOKEN_NAME = 20, 60


def make_token(session: Session, account: Account, name: str, now: datetime) -> NewToken:
    name = " ".join(name.split())
    if not name or len(name) > MAX_TOKEN_NAME or not name.isprintable():
        raise InvalidRequest(f"A token needs a name of at most {MAX_TOKEN_NAME} characters, by which you know it.")
    of_account = (ApiToken.account_id == account.id, ApiToken.revoked_at.is_(None))
    if (session.scalar(select(func.count()).select_from(ApiToken).where(*of_account)) or 0) >= MAX_TOKENS:
        raise InvalidRequest(f"An account has at most {MAX_TOKENS} tokens: revoke one first.")
    token = f"pns_{secrets.token_urlsafe(32)}"
    row = ApiToken(token_sha256=digest(token), account_id=account.id, name=name, created_at=now)
    session.add(row)
    session.flush()
    audit.record(session, account.name, "make token", f"token {row.id}", at=now)
    return NewToken(token, name)


def revoke_token(session: Session, account: Account, number: int, now: datetime) -> None:
    """Raises InvalidRequest if the account has no token of that number."""
    change = update(ApiToken).where(
        ApiToken.id == number, ApiToken.account_id == account.id, ApiToken.revoked_at.is_(None)
    )
    if not session.execute(change.values(revoked_at=now)).rowcount:  # type: ignore[attr-defined]
        raise InvalidRequest("There is no such token of yours: it is revoked already.")
    audit.record(session, account.name, "revoke token", f"token {number}", at=now)


def touch_token(database: Database, token: ApiToken, now: datetime) -> None:
    if token.used_at is not None and now - token.used_at < TOUCH_EVERY:
        return
    with database.write() as session:
        session.execute(update(ApiToken).where(ApiToken.id == token.id).values(used_at=now))
