"""The tables of the web service: who may log in, and who is logged in.

No secret stands in them: of tokens the SHA-256, which cannot be guessed back since they are random; of passwords the
argon2id hash.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.database.tables import Base, one_of


class Role(StrEnum):
    READER = "reader"  # says words
    SENIOR = "senior"  # decides between two words, and reads
    ADMIN = "admin"  # looks after accounts, draws and operating points, and reads


class LinkPurpose(StrEnum):
    FIRST = "first"  # of an account that has no password yet
    RESET = "reset"  # an admin has let the password be chosen anew


class LoginMethod(StrEnum):
    PASSWORD = "password"  # noqa: S105 - no password, but the word
    LINK = "link"  # a one-time link, by which a password was chosen
    PROXY = "proxy"  # a trusted proxy has said who it is


class AccountRow(Base):
    """A person who may log in. Rows are kept: the audit log and the words name them."""

    __tablename__ = "accounts"
    __table_args__ = (one_of("role", Role), Index("uq_accounts_name_key", "name_key", unique=True))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # as it stands in reviews and in the audit log
    name_key: Mapped[str]  # casefolded: "Dr B" and "dr b" are one account
    role: Mapped[str] = mapped_column(String(8))  # a Role
    password_hash: Mapped[str | None]  # argon2id; None: no log-in by password yet, or ever (behind a proxy)
    password_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    disabled_at: Mapped[datetime | None]
    disabled_by: Mapped[str | None]


class WebSession(Base):
    """A browser that is logged in."""

    __tablename__ = "web_sessions"
    __table_args__ = (
        Index("uq_web_sessions_token_sha256", "token_sha256", unique=True),
        Index("ix_web_sessions_account_id", "account_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    csrf_token: Mapped[str]
    method: Mapped[str] = mapped_column(String(8))  # a LoginMethod
    address: Mapped[str]  # of the browser
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # of the last request of a person; what a page asks for by itself does not count
    revoked_at: Mapped[datetime | None]


class LoginAttempt(Base):
    """A try to log in, kept for the lock-out; not what was typed, since people type passwords into the wrong field."""

    __tablename__ = "login_attempts"
    __table_args__ = (
        Index("ix_login_attempts_name_sha256", "name_sha256", "at"),
        Index("ix_login_attempts_address", "address", "at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    name_sha256: Mapped[str] = mapped_column(String(64))  # of the casefolded name, whether there is such an account
    address: Mapped[str]
    succeeded: Mapped[bool]


class OneTimeLink(Base):
    """A link by which a password is chosen, once."""

    __tablename__ = "one_time_links"
    __table_args__ = (
        Index("uq_one_time_links_token_sha256", "token_sha256", unique=True),
        Index("ix_one_time_links_account_id", "account_id"),
        one_of("purpose", LinkPurpose),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    purpose: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiToken(Base):
    """What a program shows instead of a password; it may do what its account may."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        Index("uq_api_tokens_token_sha256", "token_sha256", unique=True),
        Index("ix_api_tokens_account_id", "account_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str]  # what its owner calls it
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
