"""The run folder: the stable, versioned format in which every result is kept (DESIGN.md section 4)."""
