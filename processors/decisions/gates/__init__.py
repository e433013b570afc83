"""The gates of a message, one module a group; `processors.decisions.resolver` puts them in order."""
