"""What a monitor loads: alerts, dashboards, and their configuration."""
