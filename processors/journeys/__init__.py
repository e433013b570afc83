"""Journeys: what happens to a person next, and why."""
