"""Real servers and injected time for the tests."""
