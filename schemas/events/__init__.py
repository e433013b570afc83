"""The touchpoint event: its envelope, the shape of each known event, its limits, its JSON Schema. See README.md."""
