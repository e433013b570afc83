"""What operators do to a deployment: load definitions, measure lag, erase, rebuild, import, look for faults."""
