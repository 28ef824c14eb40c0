"""A folder: events and sweeps find files, settling decides when they are complete, reading gives their bytes."""
