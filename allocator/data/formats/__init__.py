"""Formats of data: from files, folders and data sets of the hub to examples."""
