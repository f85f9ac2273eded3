"""The benchmark: the same loads against the resolver and its peers, side by side, and what came of it."""
