"""The layer that runs the product: settings, processes, the command line, the local stack. It imports all others."""
