"""Search spaces, and the points in them."""
