"""How fast the engine is, how often it alarms on quiet days and what it finds, beside its peers: `make bench`."""
