r"""Formulas: LaTeX between dollar signs in the texts of claims, as MathML in pages and as plain Unicode elsewhere."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import cache
from unicodedata import normalize

from markupsafe import Markup, escape

FORMULA = re.compile(r"\$([^$]+)\$")
SIGNS = {
    "sum": "Σ",
    "sigma": "σ",
    "lambda": "λ",
    "rho": "ρ",
    "phi": "φ",
    "delta": "δ",
    "eta": "η",
    "theta": "θ",
    "Sigma": "Σ",
    "langle": "⟨",
    "rangle": "⟩",
    "lceil": "⌈",
    "rceil": "⌉",
    "Delta": "Δ",
    "star": "*",
    "le": " ≤ ",
    "ge": " ≥ ",
    "ll": " ≪ ",
    "gg": " ≫ ",
    "in": " ∈ ",
    "to": " → ",
    "times": " × ",
    "mapsto": " ↦ ",
    "succ": " ≻ ",
    "cdot": "·",
    "|": "‖",
    "perp": "⊥",
    "top": "T",
    "infty": "∞",
    "ldots": "…",
    "eps": "ε",
    "varepsilon": "ε",
    "max": "max",
    "min": "min",
    "quad": "  ",
    ",": " ",
    "{": "{",
    "}": "}",
    "mathrm": "",
    "left": "",
    "right": "",
    "prime": "′",
    "operatorname": "",
}
ABOVE = str.maketrans("0123456789+-()Ti", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ᵀⁱ")
BELOW = str.maketrans("0123456789+-()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
TOKEN = re.compile(r"\\([A-Za-z]+|.)|(\S)|\s+")


def mathml(text: str, *, words: Callable[[str], Markup] = escape) -> Markup:
    """Return a text as HTML, its formulas as MathML, all else by `words`, which escapes.

    Examples
    --------
    >>> "<msub><mi>W</mi><mi>t</mi></msub>" in mathml("the shift $W_t$ & more")
    True
    """
    parts = FORMULA.split(text)
    return Markup("").join(_rendered(part) if i % 2 else words(part) for i, part in enumerate(parts))


def unicode(text: str) -> str:
    r"""Return a text in plain Unicode; a script that Unicode lacks stays as ``_{T+1}``.

    Examples
    --------
    >>> unicode(r"$\operatorname{rank}(W_{T+1} - A_{\mathrm{SR}}) \le \frac1T \sum_t \sigma_1^2$ for all $t$")
    'rank(W_{T+1} − A_SR) ≤ (1/T) Σₜ σ₁² for all t'
    """
    parts = FORMULA.split(text)
    return "".join(_plain(part) if i % 2 else part for i, part in enumerate(parts))


@cache
def _rendered(latex: str) -> Markup:
    from latex2mathml.converter import convert

    return Markup(convert(latex))


def _plain(latex: str) -> str:
    said = _sequence(deque(found[0].strip() or " " for found in TOKEN.finditer(latex)))
    return re.sub(r" +", " ", said).strip()


def _sequence(tokens: deque[str]) -> str:
    """Write tokens up to the end of their group."""
    said = ""
    while tokens:
        if tokens[0] == "}":
            tokens.popleft()
            return said
        said += _item(tokens)
    return said


def _item(tokens: deque[str]) -> str:
    """Write a sign, a group, or a sign with what it is applied to."""
    token = tokens.popleft()
    match token:
        case "{":
            return _sequence(tokens)
        case "_" | "^":
            return _script(token, _argument(tokens))
        case "-":
            return "−"
        case "\\frac" | "\\tfrac":
            return f"({_grouped(_argument(tokens))}/{_grouped(_argument(tokens))})"
        case "\\sqrt":
            return f"√{_grouped(_argument(tokens))}"
        case "\\hat" | "\\bar":
            accent = "\u0302" if token == "\\hat" else "\u0304"
            return normalize("NFC", f"{_argument(tokens)}{accent}")
    return SIGNS[token[1:]] if token.startswith("\\") else token


def _argument(tokens: deque[str]) -> str:
    while tokens[0] == " ":
        tokens.popleft()
    return _item(tokens)


def _script(sign: str, content: str) -> str:
    """Write a script in Unicode's own signs where it has them all."""
    table = ABOVE if sign == "^" else BELOW
    content = content.strip()
    if content == "*":
        return content
    plain = content.replace("−", "-").replace(" ", "")
    if all(ord(letter) in table for letter in plain):
        return plain.translate(table)
    return f"{sign}{content}" if content.isalnum() or len(content) == 1 else f"{sign}{{{content}}}"


def _grouped(content: str) -> str:
    return content if content.isalnum() else f"({content})"
