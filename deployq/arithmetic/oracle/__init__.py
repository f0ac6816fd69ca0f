"""The meaning of every arithmetic form in NumPy: int64, float64 and float32, step by step."""
