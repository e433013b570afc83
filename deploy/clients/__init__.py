"""Clients for producers, each one file that is copied to where it runs."""
