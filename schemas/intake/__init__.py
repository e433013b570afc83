"""What producers may send, and who they are."""
