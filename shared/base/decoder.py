"""Which revision of the decoder this program has; here, so that who only asks for the number loads no decoder."""

DECODER_REVISION = 1
"""Stands with each prediction. Raise it with every change after which a file may be read as another picture."""
