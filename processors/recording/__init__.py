"""From records to rows of ClickHouse."""
