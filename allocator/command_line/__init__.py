"""The parser, and how a command's options become its configuration."""
