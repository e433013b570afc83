"""Names: every shape and every name that another program can see. Imports no other layer and does no I/O."""
