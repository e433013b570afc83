"""A person: the profile document, its store's requests and answers, the state beside it."""
