"""What a run is doing, how far it is and how long the rest takes, for whoever watches it."""
