"""Delivery: definitions, templates, and what an adapter is handed and answers."""
