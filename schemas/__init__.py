"""Names: every shape and every name that another program can see. Imports pydantic and nothing of ours."""
