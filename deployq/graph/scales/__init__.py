"""What a scale may be on a target, and which of those suits given values best."""
