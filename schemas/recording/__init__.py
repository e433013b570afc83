"""What is recorded of events: touches and conversions."""
