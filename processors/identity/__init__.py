"""From identifiers to people."""
