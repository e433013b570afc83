"""The collector: events over HTTP, from any Segment-compatible SDK, a browser, or `curl`. See `README.md`."""
