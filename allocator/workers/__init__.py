"""Worker processes and Ray actors, and the devices that they run on."""
