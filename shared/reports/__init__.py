"""What leaves the house, built and not sent: structured reports, captures, and the bodies of messages."""
