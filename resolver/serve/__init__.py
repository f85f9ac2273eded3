"""The process that holds the DNS sockets."""
