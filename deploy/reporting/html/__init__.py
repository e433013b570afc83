"""The HTML report: one page with charts, tables and their SQL.

`queries.py` reads the data, `charts.py` and `sankey.py` define Vega-Lite charts, `page.py` renders the page. Charts are
rendered to SVG here: the page runs no script and loads nothing.
"""
