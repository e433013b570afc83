"""ClickHouse: inserts rows, applies migrations, queries history."""
