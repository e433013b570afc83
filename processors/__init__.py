"""The layer that decides: pure functions of events, without sockets, clocks, environment or randomness.

Start at `agents.py` (every agent on one page); the stages are `identity/stage.py`, `profiles/stage.py`,
`recording/stage.py` and `delivery/stage.py`.
"""
