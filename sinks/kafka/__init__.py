"""Kafka: writes records, creates topics."""
