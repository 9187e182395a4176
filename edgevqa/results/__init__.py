"""From records to fronts, tables, plots and a choice."""
