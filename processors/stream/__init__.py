"""What every agent uses: batches, the watermark, ports."""
