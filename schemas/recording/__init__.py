"""Definitions of touches, marketing channels and goals."""
