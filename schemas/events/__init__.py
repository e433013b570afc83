"""The touchpoint event: its envelope, the shape of each known event, its bounds, its JSON Schema."""
