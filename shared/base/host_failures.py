"""Errors that are the host's, whoever meets them: libraries, threads, descriptors, disks. No file is to blame.

Memory is not among them: a damaged file may state a size for which no host has enough.
"""

import errno

LACKS = ("can't start new thread", "missing dependencies")
"""What Python and pydicom say in an error of no kind of its own."""


def describe_host_failure(error: BaseException | None) -> str | None:
    """A sentence if the host is to blame for an error or for what it came from; else None.

    An OSError counts only with an error number: decoders raise it without one for damaged files.
    """
    while error is not None:
        match error:
            case ImportError():
                return f"the installation on this host is not whole: {_text(error)}; install the package anew"
            case OSError(errno=int(number)) if number != errno.ENOMEM:
                return f"this host refuses: {error.strerror or _text(error)}"
            case _ if any(text in str(error).lower() for text in LACKS):
                return f"this host refuses: {_text(error)}"
        error = error.__cause__
    return None


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
