"""The fault table of `make faults`: traffic with a ledger, an oracle of its own, and the faults."""
