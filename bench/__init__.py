"""What `pneumoscreen bench` runs: each contender in a process of its own, on the same files and weights."""
