"""Golden vectors: per layer integers for testbenches, memory images, and a program in C."""
