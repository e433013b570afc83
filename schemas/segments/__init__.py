"""Segments: conditions, definitions, and the attributes that conditions are about."""
