"""The SQLAlchemy store, by hand."""
