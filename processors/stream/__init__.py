"""Batches, outcomes as records, the relay, the watermark and the ports of the agents."""
