"""Attribution and statistics: rules, learned models, experiments, frequency, response, lifetime value."""
