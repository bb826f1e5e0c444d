"""The stores on the databases and drivers that people run, and what happens when those fail."""
