"""Adapters: the ways on which messages leave."""
