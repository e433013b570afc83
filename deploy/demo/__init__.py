"""The demo: events of a simulated retailer and of a public data set go through the whole pipeline."""
