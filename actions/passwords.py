"""Passwords: argon2id, and what is a password at all. A check takes 64 MiB for some tenths of a second, on purpose."""

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.base.errors import InvalidRequest

MIN_LENGTH, MAX_LENGTH = 12, 256
"""Long and free to choose, without rules about characters (NIST SP 800-63B)."""
MIN_DIFFERENT = 5
"""Characters: aaaaaaaaaaaa is no password."""
HASHER = PasswordHasher()  # argon2id by RFC 9106's second recommendation: 64 MiB
AT_ONCE = threading.BoundedSemaphore(4)
"""Checks that run side by side: each takes its memory, and anybody may ask for one."""
_nobody: list[str] = []


def check_new(password: str, name: str) -> None:
    """Raises InvalidRequest for a password that is too short, too long, or easily guessed."""
    if len(password) < MIN_LENGTH:
        raise InvalidRequest(f"The password is too short: take at least {MIN_LENGTH} characters, as four words.")
    if len(password) > MAX_LENGTH:
        raise InvalidRequest(f"The password is too long: take at most {MAX_LENGTH} characters.")
    if len(set(password)) < MIN_DIFFERENT or password.casefold() in (2 * name.casefold(), 3 * name.casefold()):
        raise InvalidRequest("The password is easily guessed: take another, as four words.")
    if not password.isprintable():
        raise InvalidRequest("The password holds characters that no keyboard writes: take another.")


def hash_password(password: str) -> str:
    with AT_ONCE:
        return HASHER.hash(password)


def is_right(password_hash: str | None, password: str) -> bool:
    """Whether the password is the one of that hash. Without a hash it takes as long, so that nobody learns of it."""
    if not _nobody:
        _nobody.append(hash_password("the password of nobody"))
    with AT_ONCE:
        try:
            HASHER.verify(password_hash or _nobody[0], password[: 4 * MAX_LENGTH])
        except (VerificationError, InvalidHashError):
            return False
    return password_hash is not None
