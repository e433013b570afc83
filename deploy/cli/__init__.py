"""The command line, one module for each group of commands; `deploy/cli/main.py` puts them together."""
