"""The stage `record`: stores the records of the product's topics as rows of ClickHouse."""
