"""The output of a run: `verdicts.json`, `report.html` and a table in the terminal."""
