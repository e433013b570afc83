"""Export: which conversions leave to which destination, in which form, and why others do not."""
