"""A synthetic omnichannel retailer: seeded, causal, and as untidy as real producers are.

Read in this order: `people.py` (who), `retailer.py` and `advertising.py` (what they meet), `behaviour.py`,
`sessions.py`, `orders.py`, `service.py` and `messages.py` (what they do), `world.py` (time and chance), `delivery.py`
(how events reach Kafka: late, twice, out of order, broken). The same options give the same bytes: one
`random.Random(seed)`, no clock.
"""

from deploy.demo.simulator.run import Options, Simulation

__all__ = ["Options", "Simulation"]
