"""Serves questions about the history to programs that speak the Model Context Protocol."""
