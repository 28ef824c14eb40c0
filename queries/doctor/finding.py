"""What a check says: fine, a problem with its way out, or that it cannot tell."""

import os
import pwd
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"  # it could not be looked at, or nothing says how it should be


@dataclass(frozen=True)
class Finding:
    check: str
    state: State
    text: str
    way_out: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, State.OK, text)


def problem(check: str, text: str, way_out: str) -> Finding:
    return Finding(check, State.PROBLEM, text, way_out)


def unknown(check: str, text: str, way_out: str = "") -> Finding:
    return Finding(check, State.UNKNOWN, text, way_out)


def user() -> str:
    """Who runs this, as setfacl and chown take it: a container's user may have no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def reason(error: BaseException) -> str:
    """An error in one line; a driver's own words where SQLAlchemy wraps them."""
    original = getattr(error, "orig", None) or error
    text = original.strerror if isinstance(original, OSError) and original.strerror else str(original)
    return " ".join(text.split()) or type(original).__name__
