"""What people and monitors see: whether it is ready, the names there are, why a name is answered so."""
