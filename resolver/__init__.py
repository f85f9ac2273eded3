"""An embedded DNS resolver for containers: names from the engine, everything else from upstream."""

__version__ = "0.1.0"
