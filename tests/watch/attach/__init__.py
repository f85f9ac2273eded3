"""Answering inside containers that run."""
