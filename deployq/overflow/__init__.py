"""Whether the sums of a network fit the accumulator of a target, for every input there is."""
