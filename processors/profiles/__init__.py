"""Profiles of people, kept up to date event by event."""
