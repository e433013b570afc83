"""The sources that may publish over HTTP."""
