"""What a quantized file holds, row by row: types, scales, sizes, operations."""
