"""Journeys as marketers write them."""
