"""The room that follows the engine, opens the sockets and keeps the answering process alive. It reads no
packet."""
