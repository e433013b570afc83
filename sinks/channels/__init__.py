"""Adapters: they send a message over SMTP or as a webhook."""
