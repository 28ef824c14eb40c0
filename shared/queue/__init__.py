"""The broker: Celery's settings, the lanes' lengths, and the message that travels."""
