"""What is found out about an event beyond what its producer says: the reasons for which it is a bot's."""
