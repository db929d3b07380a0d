"""What a run leaves behind: `verdicts.json`, `report.html` and a table in the terminal."""
