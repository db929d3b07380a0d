"""Print the README's claim table from a run: ``python docs/claim_table.py reports/verify/verdicts.json``."""

import json
import sys
from pathlib import Path

print("| claim | title | verdict | values as predicted | controls refuted |\n| --- | --- | --- | --- | --- |")
for claim in json.loads(Path(sys.argv[1]).read_text("utf-8"))["claims"]:
    deciding = [item for item in claim["evidence"] if item["decides"]]
    agreeing = sum(item["outcome"] == "agrees" for item in deciding)
    refuted = sum(control["verdict"] == "refuted" for control in claim["controls"])
    print(
        f"| {claim['id']} | {claim['title']} | `{claim['verdict']}` | {agreeing} of {len(deciding)} "
        f"| {refuted} of {len(claim['controls'])} |"
    )
