"""Runs: settings, processes, the command line and the local stack. The one layer that knows all the others."""
