"""The ledger: how an image's job moves from state to state, each step one transaction of the caller's.

register   a file becomes a sighting and an unsent job
send       unsent → sent, under a new attempt number
work       sent → claimed → finished, or back to unsent with a `not_before`
recover    sent or claimed → unsent again, where a message or a process was lost
"""
