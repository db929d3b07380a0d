"""What experiments on real models share: settings, runs, records, tables and reports."""
