"""Bytes of the DNS protocol, read and written without any library."""
