"""The command line, one module for each group of commands; `deploy/cli.py` puts them together."""
