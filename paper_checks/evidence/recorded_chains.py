"""Records of chains of tasks from `loraml continual`, and evidence that one method is ahead of another on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.claim import Assumption, Finding
from paper_checks.evidence.empirical import difference_evidence, no_evidence
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.phrasing import plural
from realdata.continual.records import ChainKey, ChainRecord, Tuned, read_records
from realdata.continual.tables import REFERENCE, Chains
from realdata.experiments.wording import points

SCORE = "all"  # of drawn records


@dataclass(frozen=True)
class RecordedChains:
    """The chains of one experiment.

    Parameters
    ----------
    name
        The folder, shown in every table; it is escaped where it is rendered.
    begun
        Content of ``experiment.json``: settings, data, the score that is compared.
    chains
        The records, without trials.
    """

    kind: ClassVar[str] = "continual"

    name: str
    begun: Mapping[str, Any]
    chains: Chains

    @property
    def score(self) -> str:
        """The score that is compared."""
        return str(self.begun["score"])


def read_chains(folder: Path, begun: Mapping[str, Any]) -> RecordedChains:
    """Read the records of chains, even while they are running.

    Raises
    ------
    InputError
        If there are none, or one is damaged.
    """
    chains = Chains(read_records(folder))
    lacking = [name for name in begun["scores"] if chains.records and name not in chains.records[0].rows[0]]
    if lacking:
        raise InputError(f"{one_line(str(folder))}: its records have no score {lacking[0]!r}")
    if not chains.records:
        raise InputError(f"{one_line(str(folder))}: holds an experiment but no records, let it finish a chain first")
    return RecordedChains(one_line(str(folder)), begun, chains)


def _tuned(experiment: RecordedChains) -> Finding:
    without = sum(record.tuned is None for record in experiment.chains.records if record.learning_rate is not None)
    return Finding(without == 0, without)


TUNED = Assumption("each method at its own tuned learning rate (measured: records without one)", _tuned)


def ahead(
    experiment: RecordedChains, method: str, *, reference: str = REFERENCE, margin: float = 0.0
) -> Iterator[Evidence | Note]:
    """State that a method's average accuracy is above another's, from the plain model, by the main score.

    The evidence is the mean paired difference with a 95 % interval over seeds and orders, or over seeds where there is
    one order; with one seed, or none, it cannot be decided. Other scores are noted and decide nothing.
    """
    what = f"{method} minus {reference}"
    line, other = (experiment.chains.line(name) for name in (method, reference))
    compared = experiment.chains.compare(line, other, experiment.score) if line and other else None
    if line is None or other is None or compared is None or compared.widest is None:
        yield no_evidence(experiment.name, what, margin)
        return
    found = compared.widest
    yield difference_evidence(
        experiment.name, f"{what}, {plural(found.seeds, 'seed')}", found, margin=margin, decides=True
    )
    for score, about in experiment.begun["scores"].items():
        also = experiment.chains.compare(line, other, score)
        if score != experiment.score and also is not None and also.widest is not None:
            yield Note(experiment.name, f"{what}, {about['title']}: {points(also.widest)} percentage points")


def drawn_chains(
    seed: int,
    averages: Mapping[str, float],
    *,
    tuned: bool = True,
    seeds: int = 5,
    orders: int = 4,
    named: Callable[[str], str] = str,
) -> RecordedChains:
    """Draw records of chains of three tasks with the given average accuracies at the end.

    Parameters
    ----------
    seed
        Of the draw.
    averages
        By method.
    tuned
        Whether the records say that the learning rate was chosen.
    seeds, orders
        Numbers of them.
    named
        The name that a method's records bear.
    """
    rng = np.random.default_rng(seed)
    records = []
    for (method, average), order, at in product(averages.items(), range(1, orders + 1), range(seeds)):
        rows = {
            row: {SCORE: tuple(np.clip(average + 0.01 * rng.standard_normal(3), 0, 1).tolist())} for row in range(4)
        }
        records.append(
            ChainRecord(
                key=ChainKey(named(method), "plain", order, at),
                tasks=("first", "second", "third"),
                sizes=(100, 100, 100),
                part="test",
                learning_rate=1e-3,
                tuned=Tuned((1e-3,), (average,)) if tuned else None,
                rows=rows,
                losses=((), (), ()),
                steps=(0, 0, 0),
                examples=(0, 0, 0),
                seconds=(0.0, 0.0, 0.0),
                provenance={},
            )
        )
    begun = {"score": SCORE, "scores": {SCORE: {"title": "accuracy", "chance": 0.1}}}
    return RecordedChains("drawn records", begun, Chains(records))
