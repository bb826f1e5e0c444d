"""What tests use, by hand."""
