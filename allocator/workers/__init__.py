"""Processes, Ray actors and devices that train."""
