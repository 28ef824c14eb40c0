"""Fits networks to labelled folders, examines them on patients held out, and publishes them as model versions."""
