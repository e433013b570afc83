"""Reports: attribution, comparison of models and periods, output for a terminal and for a browser."""
