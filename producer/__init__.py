"""Watches folders, registers what is dropped, sends it to the workers, recovers what got lost. No TensorFlow here."""
