"""The decision engine, the message resolver with its gates, and the decision ledger."""
