"""Figures of a screening test and their intervals, in NumPy alone."""
