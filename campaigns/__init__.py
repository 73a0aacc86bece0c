"""Long, bounded campaigns against the promises: faults by the hundred thousand, kills, strangers. Not part of the suite."""
