"""Compare what an exported file computes with the fake-quant reference: parity, accuracy, latency."""
