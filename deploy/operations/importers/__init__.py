"""Reads tables of spend, rates, margins and journeys."""
