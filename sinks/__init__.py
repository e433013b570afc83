"""Stores: one file per system. Whoever writes a store also reads it, so a layout is known in one place only."""
