"""The pages of the site that are made when it is built: the claims, the legend, and the project's own files.

`mkdocs.yml` names this module as a hook. The results on the pages of the claims are those of the last `make verify`, if
there was one; a page says which. Formulas are written as code hosts show them, $`LaTeX`$, and become MathML.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from os.path import normpath, relpath
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from paper_checks import legend, registry
from paper_checks.claim import AnyClaim, Given, applicable
from paper_checks.notation import mathml, unicode
from paper_checks.report.figures import picture

ROOT = Path(__file__).parent.parent
VERDICTS = ROOT / "reports/verify/verdicts.json"
FILES = {"contributing": "CONTRIBUTING.md", "benchmarks": "benchmarks/README.md", "changelog": "CHANGELOG.md"}
TARGETS = {path: f"{name}.md" for name, path in FILES.items()} | {
    "README.md": "index.md",
    "tests/README.md": "testing.md",
}
PROOFS = {"theory.md": "the theory", "forgetting.md": "the theory of forgetting"}
FORMULA = re.compile(r"\$<code>(.*?)</code>\$")
LINK = re.compile(r"\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the claims to the navigation."""
    (section,) = (part["Claims"] for part in config.nav if "Claims" in part)
    section[1:1] = [{f"{claim.id} {unicode(claim.title)}": f"claims/{claim.id}.md"} for claim in registry.claims()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    pages = {f"{name}.md": (ROOT / path).read_text("utf-8") for name, path in FILES.items()}
    run = last_run()
    pages |= {"legend.md": legend_page(), "claims/index.md": claims_page(run)}
    pages |= {f"claims/{claim.id}.md": claim_page(claim, run) for claim in registry.claims()}
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


@dataclass(frozen=True)
class Run:
    """The results of the last `make verify` by claim, and where they come from."""

    claims: dict[str, Any]
    origin: str


def last_run() -> Run:
    """Read `reports/verify/verdicts.json`."""
    if not VERDICTS.exists():
        return Run({}, "Not checked yet: `make verify` does.")
    found = json.loads(VERDICTS.read_text("utf-8"))
    made = found["environment"]
    commit = f", commit {made['commit']}" if made["commit"] else ""
    origin = f"From `{made['command']}`, seed {found['seed']}, version {made['version']}{commit}."
    return Run({claim["id"]: claim for claim in found["claims"]}, origin)


def text(latex: str) -> str:
    """Return a text of a claim as Markdown, its formulas as code between dollar signs."""
    plain = latex.replace("*", r"\*")
    for path, words in PROOFS.items():
        plain = plain.replace(f"docs/{path}", f"[{words}](../{path})")
    return re.sub(r"\$([^$]+)\$", r"$`\1`$", plain)


def claims_page(run: Run) -> str:
    """List the claims with their verdicts."""
    said = f"{run.origin} The NL claims are findings, judged by the records of experiments."
    rows = [
        f"| [{claim.id}]({claim.id}.md) | {text(claim.title)} | {verdict(claim, run)} |" for claim in registry.claims()
    ]
    return "\n".join(["# The claims", "", said, "", "| claim | title | verdict |", "| --- | --- | --- |", *rows, ""])


def verdict(claim: AnyClaim[Any], run: Run) -> str:
    """Return a claim's verdict in the last run, or what gives one."""
    if claim.id in run.claims:
        return f"{run.claims[claim.id]['verdict']}"
    return "not checked yet" if claim.nature == "theorem" else f"[records](../{claim.id.removeprefix('NL-')}.md)"


def claim_page(claim: AnyClaim[Any], run: Run) -> str:
    """Write a claim's page: statement, result, figure, assumptions, proof, controls."""
    found = run.claims.get(claim.id)
    assumptions = "\n".join(f"- {text(assumption.what)}" for assumption in claim.assumptions)
    keys = "\n".join(f"- {text(key)}" for key in claim.keys)
    parts = (
        f"---\ntitle: {json.dumps(f'{claim.id}: {unicode(claim.title)}')}\n---",
        f"# {claim.id}: {text(claim.title)}",
        f"{text(claim.statement)}\n{{ .statement }}",
        f"*{claim.nature.capitalize()}. {text(claim.source)}.*",
        result(found, run.origin),
        figure(claim),
        f"## What it needs\n\n{assumptions}" if assumptions else "",
        proof(claim.id),
        f"## What is measured\n\n{keys}" if keys else "",
        f"## What its check must refute\n\n{controls(claim, found)}",
        f"```sh\nloraml verify --claim {claim.id}\n```" if claim.nature == "theorem" else "",
    )
    return "\n\n".join(part for part in parts if part)


def result(found: dict[str, Any] | None, origin: str) -> str:
    """Quote the result of the last run."""
    if found is None:
        return ""
    return f'!!! success "{found["verdict"]}"\n\n    {text(found["reason"])}\n\n    {origin}\n    {{ .origin }}'


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
    """Return the claim's paragraph of the pages with proofs."""
    theory = "\n".join((ROOT / "docs" / path).read_text("utf-8") for path in PROOFS)
    paragraph = rf"^\*\*{re.escape(id_)}(?: \(\+\))?\.\*\*(.*?)(?=^\*\*[A-Z]+-|^#)"
    found = re.search(paragraph, theory, re.MULTILINE | re.DOTALL)
    return "## Proof\n\n" + found[1].strip().replace("](", "](../") if found else ""


def controls(claim: AnyClaim[Any], found: dict[str, Any] | None) -> str:
    """List the false statements, with what refuted each in the last run."""
    seen = {control["what"]: control for control in (found or {}).get("controls", [])}
    return "\n".join(f"- {text(control.what)}{refuted(seen.get(control.what))}" for control in claim.controls)


def refuted(control: dict[str, Any] | None) -> str:
    """Say what refuted a false statement."""
    if control is None or control["measured"] is None:
        return ""
    measured, predicted = (f"{control[name]:.4g}" for name in ("measured", "predicted"))
    relation = "" if control["relation"] == "equal" else f"{control['relation']} "
    quantity = control["quantity"].partition(": ")[0]
    return f"<br>*{control['instance']}*: `{quantity}` is {measured}, expected {relation}{predicted}"


def legend_page() -> str:
    """List symbols and kinds of structures."""
    symbols = [f"| $`{symbol}`$ | {text(line)} |" for symbol, line in legend.SYMBOLS.items()]
    kinds = [f"| {kind} | {text(line)} |" for kind, line in legend.KINDS.items()]
    parts = ["# Symbols and structures", "## Symbols", table("symbol", symbols), "## Kinds of structures"]
    return "\n\n".join([*parts, table("kind", kinds)])


def table(first: str, rows: list[str]) -> str:
    """Write a table of meanings."""
    return "\n".join([f"| {first} | meaning |", "| --- | --- |", *rows, ""])
