"""Find where a parameter budget of a tensor adapter should go."""
