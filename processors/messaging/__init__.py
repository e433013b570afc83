"""The gates of a message, one module per group; `processors.journeys.resolver` puts them in order."""
