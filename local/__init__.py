"""One machine: the supervisor behind `up`, its private broker, and the programs of `db`."""
