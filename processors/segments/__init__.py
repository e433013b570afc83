"""Segments: which people are in them, and when that changes without an event. Start at `engine.py`."""
