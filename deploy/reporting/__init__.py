"""Reports: attribution, comparison, pages for a terminal and for a browser."""
