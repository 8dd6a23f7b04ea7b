"""Search-space presets: one YAML file each, named after the published system it reproduces."""
