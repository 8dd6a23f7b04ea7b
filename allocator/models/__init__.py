"""Find and read pretrained models, and attach adapters to them."""
