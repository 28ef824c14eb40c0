"""The courier: sends what the outbox holds."""
