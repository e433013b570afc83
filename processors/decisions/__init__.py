"""What follows from an event or from time: the decision of each message, and why."""
