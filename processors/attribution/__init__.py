"""Attribution and statistics: rule-based and fitted models, experiments, frequency, response, lifetime value."""
