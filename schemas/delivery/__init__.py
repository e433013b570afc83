"""Delivery: routes, templates, outbound messages and the results of adapters."""
