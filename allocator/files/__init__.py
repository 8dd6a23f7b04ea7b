"""Files that people read and write: recipes, YAML, the names and places of a study's files."""
