"""Statistics on what the database has counted: best message frequency, response to spend, lifetime value.

Pure functions on plain numbers; chance comes from a seed. The commands `throughline frequency`, `budget` and `ltv fit`
ask ClickHouse, call these and show the answers.
"""
