"""Answering inside containers that run: whom, how to get in, and how to let go."""
