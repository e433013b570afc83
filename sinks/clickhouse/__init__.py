"""ClickHouse: inserts rows, applies migrations, answers questions."""
