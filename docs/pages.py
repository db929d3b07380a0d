"""The pages of the site that are made when it is built: the claims, the legend, and the project's own files.

`mkdocs.yml` names this module as a hook. The results on the pages of the claims are those of the last `make verify`, if
there was one.
"""

from __future__ import annotations

import html
import json
import re
from os.path import normpath, relpath
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from paper_checks import legend, registry
from paper_checks.claim import AnyClaim, Given, applicable
from paper_checks.notation import mathml
from paper_checks.report.figures import picture

ROOT = Path(__file__).parent.parent
VERDICTS = ROOT / "reports/verify/verdicts.json"
FILES = {"contributing": "CONTRIBUTING.md", "benchmarks": "benchmarks/README.md", "changelog": "CHANGELOG.md"}
TARGETS = {path: f"{name}.md" for name, path in FILES.items()} | {
    "README.md": "index.md",
    "tests/README.md": "testing.md",
}
FORMULA = re.compile(r"<code>\$(.*?)\$</code>")
LINK = re.compile(r"\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    pages = {f"{name}.md": (ROOT / path).read_text("utf-8") for name, path in FILES.items()}
    pages |= {"legend.md": legend_page(), "claims/index.md": claims_page(results())}
    pages |= {f"claims/{claim.id}.md": claim_page(claim, results().get(claim.id)) for claim in registry.claims()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages; files that have none are only named."""
    source = page.file.src_uri
    home = ROOT / FILES.get(source.removesuffix(".md"), f"docs/{source}")

    def link(found: re.Match[str]) -> str:
        words, place, anchor = found[1], found[2], found[3] or ""
        path = Path(normpath(home.parent / place)).relative_to(ROOT).as_posix()
        page_of = TARGETS.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        return f"[{words}]({relpath(page_of, Path(source).parent)}{anchor})" if page_of else words

    return LINK.sub(link, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Show formulas as MathML, which needs no script."""
    return FORMULA.sub(lambda found: str(mathml(f"${html.unescape(found[1])}$")), content)


def results() -> dict[str, Any]:
    """Return the results of the last `make verify` by claim."""
    if not VERDICTS.exists():
        return {}
    return {claim["id"]: claim for claim in json.loads(VERDICTS.read_text("utf-8"))["claims"]}


def text(latex: str) -> str:
    """Return a text of a claim as Markdown, its formulas as code between dollar signs."""
    return re.sub(r"\$[^$]+\$", lambda found: f"`{found[0]}`", latex.replace("*", r"\*"))


def claims_page(found: dict[str, Any]) -> str:
    """List the claims with their verdicts."""
    verdicts = {id_: result["verdict"] for id_, result in found.items()}
    rows = [
        f"| [{claim.id}]({claim.id}.md) | {text(claim.title)} | {verdicts.get(claim.id, 'not checked yet')} |"
        for claim in registry.claims()
    ]
    said = "Each claim is checked by `make verify`; empirical ones (NL) need the records of an experiment."
    return "\n".join(["# The claims", "", said, "", "| claim | title | verdict |", "| --- | --- | --- |", *rows, ""])


def claim_page(claim: AnyClaim[Any], found: dict[str, Any] | None) -> str:
    """Write a claim's page: statement, result, figure, assumptions, proof, controls."""
    assumptions = "\n".join(f"- {text(assumption.what)}" for assumption in claim.assumptions)
    parts = (
        f"# {claim.id}: {text(claim.title)}",
        f"{text(claim.statement)}\n{{ .statement }}",
        f"*{claim.nature.capitalize()}. {text(claim.source)}.*",
        result(found),
        figure(claim),
        f"## What it needs\n\n{assumptions}" if assumptions else "",
        proof(claim.id),
        f"## What its check must refute\n\n{controls(claim, found)}",
        f"```sh\nloraml verify --claim {claim.id}\n```" if claim.nature == "theorem" else "",
    )
    return "\n\n".join(part for part in parts if part)


def result(found: dict[str, Any] | None) -> str:
    """Quote the result of the last run."""
    if found is None:
        return ""
    return f'!!! success "{found["verdict"]}"\n\n    {text(found["reason"])}'


def figure(claim: AnyClaim[Any]) -> str:
    """Draw the claim's own figure on the most telling of its instances."""
    if claim.figure is None:
        return ""
    met = [found for found, held in applicable(claim, claim.subjects(Given(0))) if all(each.holds for each in held)]
    drawn = picture(claim, met, [])
    assert drawn is not None, claim.id
    caption = html.escape(drawn.caption)
    return f'<figure><img src="{drawn.uri}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def proof(id_: str) -> str:
    """Return the claim's paragraph of docs/theory.md."""
    theory = (ROOT / "docs/theory.md").read_text("utf-8")
    paragraph = rf"^\*\*{re.escape(id_)}(?: \(\+\))?\.\*\*(.*?)(?=^\*\*[A-Z]+-|^#)"
    found = re.search(paragraph, theory, re.MULTILINE | re.DOTALL)
    return f"## Proof\n\n{found[1].strip()}" if found else ""


def controls(claim: AnyClaim[Any], found: dict[str, Any] | None) -> str:
    """List the false statements, with what refuted each in the last run."""
    seen = {control["what"]: control for control in (found or {}).get("controls", [])}
    return "\n".join(f"- {text(control.what)}{refuted(seen.get(control.what))}" for control in claim.controls)


def refuted(control: dict[str, Any] | None) -> str:
    """Say what refuted a false statement."""
    if control is None or control["measured"] is None:
        return ""
    measured, predicted = (f"{control[name]:.4g}" for name in ("measured", "predicted"))
    return f": refuted on {control['instance']}, {text(control['quantity'])} is {measured} rather than {predicted}"


def legend_page() -> str:
    """List symbols and kinds of structures."""
    symbols = [f"| `${symbol}$` | {text(line)} |" for symbol, line in legend.SYMBOLS.items()]
    kinds = [f"| {kind} | {text(line)} |" for kind, line in legend.KINDS.items()]
    head = ["| | |", "| --- | --- |"]
    sections = ["# Symbols and structures", "", "## Symbols", "", *head, *symbols]
    return "\n".join([*sections, "", "## Kinds of structures", "", *head, *kinds, ""])
