"""Journeys: sequences of waits, decisions and messages for a person. Start at `engine.py`."""
