"""Decisions about messages: request, decision, and the policy that they follow."""
