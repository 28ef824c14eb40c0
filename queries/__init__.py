"""What people ask for, as dataclasses, for every face alike; what asks the database takes a session."""
