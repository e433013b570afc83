"""Opens connections to Kafka, Redis and ClickHouse as the settings say: address, TLS, user and password."""
