"""How Pneumoscreen names itself to other applications (PS3.7 D.3.3.2)."""

from shared import __version__

CLASS_UID = "2.25.141640318817653283945930361537269405931"
"""Of this implementation, for good."""
VERSION_NAME = f"PNEUMOSCREEN_{__version__}"[:16]
