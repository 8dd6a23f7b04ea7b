"""Processes and Ray actors that train, and the devices that they run on."""
