"""Released data sets, read into collections."""
