"""The reading room: pages on which people see X-rays, say their word, and are counted. Parses, calls, renders."""
