"""Polls sources, registers what is new, sends it to the workers, recovers what got lost. No TensorFlow here."""
