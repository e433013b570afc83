"""From what producers send to valid touchpoint events."""
