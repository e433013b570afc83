"""Segments: who is in them now, and when time alone will change that. Start at `engine.py`."""
