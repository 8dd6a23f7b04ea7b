"""The frozen model that a pack shares."""
