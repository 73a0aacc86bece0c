"""A soak: many operations of every kind and ending; descriptors, tasks, slots and memory stay flat."""
