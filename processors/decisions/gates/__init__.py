"""The gates of a message, one module a group; `processors.decisions.resolver` has their order."""
