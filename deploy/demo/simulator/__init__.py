"""A synthetic omnichannel retailer: seeded, causal, with the data quality of real producers.

Read in this order: `people.py` (customers), `retailer.py` and `advertising.py` (products, marketing), `devices.py`
(what SDKs say of them), `behaviour.py`, `sessions.py`, `orders.py`, `tills.py`, `service.py`, `messages.py` and
`bots.py` (actions), `world.py` (agenda and random numbers), `delivery.py` (how events reach Kafka: late, twice, out of
order, broken). The same options give the same bytes: one
`random.Random(seed)`, no clock.
"""

from deploy.demo.simulator.run import Options, Simulation

__all__ = ["Options", "Simulation"]
