"""The stage `deliver`: renders and sends the messages of actions, and publishes receipts."""
