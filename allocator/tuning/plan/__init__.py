"""Turn what the user asked into a plan of what will run."""
