"""The demo: a simulated retailer and a public sample through the whole pipeline."""
