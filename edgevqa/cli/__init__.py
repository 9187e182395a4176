"""The commands. A file for each; it parses its arguments, calls the library and prints."""
