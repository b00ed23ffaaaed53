"""How a group of processes is started."""
