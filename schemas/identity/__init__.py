"""Identity: the policy, what an event claims, what it was resolved to, what changed."""
