"""Long but bounded campaigns that test the promises: faults, kills, third-party tools. Not part of the test suite."""
