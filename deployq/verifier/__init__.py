"""Compare what a file computes with the fake-quant reference: parity, accuracy, latency."""
