"""The report: one page of HTML with charts, tables and the questions behind them.

`questions.py` asks the database, `charts.py` and `sankey.py` draw the answers as Vega-Lite charts, `page.py` sets the
page. Charts are SVG drawn here: the page runs no script and loads nothing.
"""
