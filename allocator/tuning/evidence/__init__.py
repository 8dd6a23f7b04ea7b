"""What trainings with several seeds show about the difference between two allocations."""
