"""When two spellings of an account's name mean the same person."""

import unicodedata


def name_key(name: str) -> str:
    """Under which a name is looked up: however it is spelled, it is one person."""
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
