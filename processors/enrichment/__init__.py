"""Device, place and verdict on bots of each event."""
