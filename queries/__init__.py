"""What people ask for: each function takes a session and returns dataclasses, for every face alike."""
