"""Asking upstream servers: which, how long to wait, over which socket, and what to take for a reply."""
