"""Long but bounded campaigns that test the promises: many thousands of faults, kills, foreign tools. Not part of the suite."""
