"""Celery workers: claim a message's jobs, read, decode, classify, write the rows."""
