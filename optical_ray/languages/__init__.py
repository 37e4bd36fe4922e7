"""Languages as an experimental variable: codes, nested sets, mixing. Pure functions, recorded with every result."""
