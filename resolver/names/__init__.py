"""The pure core: who has which name on which network. No sockets, no clock, no engine, no logging."""
