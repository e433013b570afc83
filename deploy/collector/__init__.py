"""The collector: events over HTTP, from any Segment-compatible SDK, a browser, or `curl`.

It answers 200 when Kafka has confirmed every event that it accepts, and never before. A batch with a bad event is no
bad batch: SDKs drop what is answered with 400, so the others are taken, and the bad one is told in the answer and kept
as a dead letter. What cannot be taken now is answered with 429 or 503, which SDKs try again.

`answers.py` has the routes, `requests.py` reads what comes, `write_keys.py` knows whose it is, `server.py` runs it.
"""
