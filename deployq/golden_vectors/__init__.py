"""Golden vectors: each layer run on data and on inputs made to hit the edges of its arithmetic."""
