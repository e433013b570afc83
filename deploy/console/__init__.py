"""The console: pages on which people look at a deployment and act on what is live."""
