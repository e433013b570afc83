"""Decides: what one event means. No socket, no clock, no environment, no randomness.

Read in this order: `agents.py` (every agent on one page), `identify.py` with `decode.py` and `identity.py`,
`profile_update.py` with `profile.py`, `record.py` with `touches.py`.
"""
