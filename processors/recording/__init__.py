"""Stores records of our topics as rows of ClickHouse."""
