"""Resolves events to profiles by their identifiers."""
