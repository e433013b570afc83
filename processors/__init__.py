"""Decides: what one event means. No socket, no clock, no environment, no randomness.

Read in this order: `agents.py` (every agent on one page), `decode.py`, `identity.py`, `profile.py`, `touches.py`, `record.py`.
"""
