"""The local stack: three real servers from Python packages, or Apache Kafka from Maven Central, without Docker."""
