"""The parser and the options that commands share."""
