"""What was claimed and logged: results with their sources, fits, claims and their checks, tables."""
