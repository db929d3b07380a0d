from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from realdata.language.distractors import Choice
from realdata.language.encoding import pair_format
from realdata.language.examples import TurnExamples, shown_candidates
from tests.realdata.language.tiny import bert_tokenizer, roberta_tokenizer

LETTERS = "abcdefg"


def drawn_turns(seed: int, *, turns: int = 6, candidates: int = 5) -> list[Choice]:
    """Draw turns; the number of words of a reply says which candidate it is."""
    rng = np.random.default_rng(seed)

    def words(count: Any) -> str:
        return " ".join(rng.choice(list(LETTERS), size=count))

    return [
        Choice(
            history=tuple(words(rng.integers(1, 6)) for _ in range(2 * turn + 1)),
            replies=tuple(words(place + 1) for place in range(candidates)),
            true=int(rng.integers(candidates)),
            drawn=0,
        )
        for turn in range(turns)
    ]


def examples(turns: list[Choice], tokenizer: Any = None, **options: Any) -> TurnExamples:
    tokenizer = tokenizer or bert_tokenizer()
    pairs = pair_format(tokenizer, max_length=24)
    return TurnExamples(turns, tokenizer, pairs=pairs, **{"training_candidates": 3, **options})


@pytest.mark.parametrize(
    ("made", "separator"), [(bert_tokenizer, "[SEP]"), (bert_tokenizer, " "), (roberta_tokenizer, "</s>")]
)
def test_evaluation_shows_all_candidates_as_the_tokenizer_writes_them(made: Any, separator: str) -> None:
    tokenizer = made()
    turns = drawn_turns(0)
    of_all = examples(turns, tokenizer, separator=separator)
    indices = np.array([4, 0, 2])
    inputs, targets = of_all.batch(indices)
    tokenizer.truncation_side = "left"
    written = tokenizer(
        [separator.join(turns[at].history) for at in indices for _ in range(5)],
        [reply for at in indices for reply in turns[at].replies],
        truncation="only_first",
        max_length=24,
        padding=True,
        return_tensors="pt",
    )
    assert isinstance(inputs, dict)
    assert {name: tensor.tolist() for name, tensor in inputs.items()} == {k: v.tolist() for k, v in written.items()}
    assert targets.tolist() == [turns[at].true for at in indices]
    assert of_all.row_lengths[indices].ravel().tolist() == inputs["attention_mask"].sum(dim=1).tolist()


def test_the_separator_is_the_tokenizers_own_by_default() -> None:
    turns = drawn_turns(1)
    assert examples(turns).fingerprint == examples(turns, separator="[SEP]").fingerprint
    assert examples(turns).fingerprint != examples(turns, separator=" ").fingerprint


def test_training_shows_the_true_reply_among_drawn_ones() -> None:
    turns = drawn_turns(2)
    of_all = examples(turns)
    rng = np.random.default_rng(0)
    shown: list[Counter[int]] = [Counter() for _ in turns]
    places: Counter[int] = Counter()
    for _ in range(400):
        candidates, targets = shown_candidates(of_all, np.arange(6), rng)
        assert candidates.shape == (6, 3)
        for turn, row, target in zip(range(6), candidates, targets, strict=True):
            assert len(set(row)) == 3
            assert row[target] == turns[turn].true
            shown[turn].update(row.tolist())
        places.update(targets.tolist())
    for turn, counts in enumerate(shown):
        assert counts.pop(turns[turn].true) == 400
        # two of the four others each time: 200 expected, standard deviation 10; 24 counts
        assert all(abs(count - 200) < 60 for count in counts.values())
        assert len(counts) == 4
    assert all(abs(count - 800) < 140 for count in places.values())  # standard deviation 23


def test_training_rows_are_rows_of_evaluation() -> None:
    of_all = examples(drawn_turns(3))
    indices = np.array([1, 5, 5])
    inputs, targets = of_all.batch(indices, np.random.default_rng(7))
    candidates, places = shown_candidates(of_all, indices, np.random.default_rng(7))
    assert targets.tolist() == places.tolist()
    assert isinstance(inputs, dict)
    chosen = [of_all.pair(int(turn), int(one)) for turn, row in zip(indices, candidates, strict=True) for one in row]
    assert inputs["input_ids"].tolist() == of_all.pairs.rows(chosen)["input_ids"].tolist()
    assert candidates[1].tolist() != candidates[2].tolist()  # the same turn twice, drawn apart


def test_batches_depend_on_the_generator_alone() -> None:
    of_all = examples(drawn_turns(4))
    first = of_all.batch(np.arange(6), np.random.default_rng(3))
    of_all.batch(np.arange(6), np.random.default_rng(9))
    again = of_all.batch(np.arange(6), np.random.default_rng(3))
    assert torch.equal(first.targets, again.targets)
    assert isinstance(first.inputs, dict)
    assert isinstance(again.inputs, dict)
    assert torch.equal(first.inputs["input_ids"], again.inputs["input_ids"])


def test_a_turn_without_history_has_rows() -> None:
    turn = Choice((), ("a", "b c"), true=1, drawn=0)
    inputs, _ = examples([turn], training_candidates=2).batch(np.array([0]))
    assert isinstance(inputs, dict)
    assert inputs["attention_mask"].sum(dim=1).tolist() == [4, 5]


def test_fingerprints_tell_examples_apart() -> None:
    turns = drawn_turns(5)
    found = {
        examples(turns).fingerprint,
        examples(turns[1:]).fingerprint,
        examples(turns, training_candidates=2).fingerprint,
        examples([*turns[1:], turns[0]]).fingerprint,
        examples([replace(turns[0], true=(turns[0].true + 1) % 5), *turns[1:]]).fingerprint,
    }
    assert len(found) == 5
    assert examples(drawn_turns(5)).fingerprint in found


@pytest.mark.parametrize("training_candidates", [1, 6])
def test_refused_number_of_training_candidates(training_candidates: int) -> None:
    with pytest.raises(ValueError, match=f"training_candidates: got {training_candidates}; expected 2 to 5"):
        examples(drawn_turns(0), training_candidates=training_candidates)


def test_refused_turns() -> None:
    with pytest.raises(ValueError, match=r"turns: got \[\] candidates"):
        examples([])
    with pytest.raises(ValueError, match=r"turns: got \[5, 6\] candidates; expected turns with one number of them"):
        examples([*drawn_turns(0), *drawn_turns(0, candidates=6)])
