"""Redis or Valkey: identities, profiles, deduplication, outboxes, deliveries, erasures."""
