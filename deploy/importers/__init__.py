"""Brings in data of another form: tables of marketing spend, a public sample of a shop's history."""
