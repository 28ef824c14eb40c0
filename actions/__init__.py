"""What people do: each function takes a session, the actor and the time, and records itself in the audit log."""
