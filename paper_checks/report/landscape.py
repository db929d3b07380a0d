"""The page and the summary of a landscape, both from the document in `landscape.json`."""

from __future__ import annotations

from typing import Any

from loraml_theory.harness.page import page as rendered
from loraml_theory.harness.plotting import CYCLE, GREY, data_uri
from paper_checks.claim import Picture
from paper_checks.evidence.phrasing import number, plural
from paper_checks.report.figures import axes

Document = dict[str, Any]

LOOKS = {"global": ("*", CYCLE[2], 13.0), "spurious": ("X", CYCLE[1], 9.0), "saddle": ("o", GREY, 5.0)}
WORDS = {"global": "global minimum", "spurious": "spurious minimum", "saddle": "saddle or maximum"}


def page(found: Document) -> str:
    """Return the page; every text in it is escaped."""
    real = [point for point in found["points"] if point["kind"] != "complex"]
    values = {
        "found": found,
        "summary": summary(found),
        "real": [_row(i, point, found) for i, point in enumerate(real)],
        "words": WORDS,
        "starts": found["descents"],
        "others": found["found"] - len(real),
        "imaginary": sum(point["self_conjugate"] for point in found["points"]) - len(real),
        "picture": _picture(real, found),
    }
    return rendered("paper_checks.report", "landscape.html.j2", values, filters={"number": number, "plural": plural})


def summary(found: Document) -> str:
    """Return what was found, in a sentence or two."""
    real = sum(point["kind"] != "complex" for point in found["points"])
    spurious = found["minima"]["spurious"]
    said = (
        f"{found['found']} of {found['expected']} critical points up to signs, all certified: {real} real, of these "
        f"{plural(found['minima']['global'], 'global minimum').replace('minimums', 'minima')}, "
        f"{spurious} spurious and {plural(real - found['minima']['global'] - spurious, 'saddle')}."
    )
    if spurious:
        values = ", ".join(number(point["value"]) for point in found["points"] if point["kind"] == "spurious")
        drained = "; ".join(
            f"{_at_spurious(each, found)} of {each['starts']} {each['start']} starts" for each in found["descents"]
        )
        said += f" Spurious: f = {values}; descents end there from {drained}."
    return said


def _at_spurious(descent: Document, found: Document) -> int:
    return sum(end["starts"] for end in descent["ends"] if found["points"][end["point"]]["kind"] == "spurious")


def _row(i: int, point: Document, found: Document) -> list[str]:
    """Return the cells of a real point: kind, value, index, orbit, curvature, and starts that end there."""
    ended = [
        str(sum(end["starts"] for end in descent["ends"] if end["point"] == i) or "–") for descent in found["descents"]
    ]
    numbers = [number(point["value"], 6), str(point["index"]), str(point["orbit"]), number(point["curvature"])]
    return [WORDS[point["kind"]], *numbers, *ended]


def _picture(real: list[Document], found: Document) -> Picture:
    """Draw value against index, with the starts that end at each minimum."""
    with axes(height=3.4) as (figure, ax):
        for kind, (marker, colour, size) in LOOKS.items():
            here = [point for point in real if point["kind"] == kind]
            if here:
                ax.plot(
                    [point["index"] for point in here],
                    [point["value"] for point in here],
                    *(marker,),
                    color=colour,
                    markersize=size,
                    label=WORDS[kind],
                    linestyle="none",
                )
        for i, point in enumerate(real):
            if point["index"] == 0:
                ends = [sum(e["starts"] for e in d["ends"] if e["point"] == i) for d in found["descents"]]
                counts = zip(ends, found["descents"], strict=True)
                text = "\n".join(f"{n} of {d['starts']} {d['start']} starts" for n, d in counts)
                place: Document = {"textcoords": "offset points", "ha": "right", "va": "center", "fontsize": 8}
                ax.annotate(text, (0, point["value"]), (-12, 0), **place)
        ax.set_xlabel("index: number of negative eigenvalues of the Hessian")
        ax.set_ylabel("f")
        ax.set_yscale("symlog", linthresh=max(min((p["value"] for p in real if p["value"] > 0), default=1.0), 1e-9))
        most = max(point["index"] for point in real)
        ax.set_xlim(-0.3 - 0.45 * (1 + most), most + 0.4)  # room for text to the left of the minima
        ax.set_xticks(range(1 + most))
        ax.legend(loc="lower right")
        caption = (
            "The real critical points, up to signs: value against index; at the minima, how many descents end there"
        )
        return Picture(data_uri(figure), caption)
