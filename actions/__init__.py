"""What people do: each function takes a session (or the database, for several transactions), the actor and the time.

What changes a result, a model or what is kept records itself in the audit log."""
