"""From an action to a message that leaves, and to its receipt."""
