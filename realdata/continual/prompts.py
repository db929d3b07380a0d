"""The prompts of the benchmark for models that write, and how their answers are judged."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence

KINDS = {
    **dict.fromkeys(("dbpedia", "agnews", "yahoo"), "topic"),
    **dict.fromkeys(("amazon", "yelp", "SST-2", "IMDB"), "sentiment"),
    **dict.fromkeys(("MNLI", "CB", "RTE"), "inference"),
    **dict.fromkeys(("BoolQ", "MultiRC", "COPA", "QQP", "WiC"), "question"),
}
"""What a task of the benchmark asks for, by its name; of others: classification."""

INSTRUCTIONS = {
    "topic": "Say what the text is about. Answer with one of the options and nothing else.",
    "sentiment": "Say how the writer feels about it. Answer with one of the options and nothing else.",
    "inference": "Say how the second sentence follows from the first. Answer with one of the options and nothing else.",
    "question": "Answer the question about the text with one of the options and nothing else.",
    "classification": "Answer with the option that fits the text best and nothing else.",
}


def prompt(task: str, labels: Sequence[str], sentence: str) -> str:
    """Return the prompt of a sentence, in the form of both papers' benchmark.

    Examples
    --------
    >>> print(prompt("SST-2", ["Good", "Bad"], "a fine film"))
    Task:sentiment
    Dataset:SST-2
    Say how the writer feels about it. Answer with one of the options and nothing else.
    Option: Good, Bad
    a fine film
    Answer:
    """
    kind = KINDS.get(task, "classification")
    return "\n".join(
        [f"Task:{kind}", f"Dataset:{task}", INSTRUCTIONS[kind], f"Option: {', '.join(labels)}", sentence, "Answer:"]
    )


def words(answer: str) -> list[str]:
    """Return the words of an answer in lower case without punctuation.

    Examples
    --------
    >>> words(" Very  Negative.")
    ['very', 'negative']
    """
    return answer.lower().translate(str.maketrans("", "", string.punctuation)).split()


def exact_match(answer: str, wanted: str) -> float:
    """Return 1 where the words are the same, else 0."""
    return float(words(answer) == words(wanted))


def rouge_1(answer: str, wanted: str) -> float:
    """Return the F1 of the words that an answer and the wanted one have in common; 0 without any.

    Examples
    --------
    >>> rouge_1("very negative", "negative"), rouge_1("", "negative")
    (0.6666666666666666, 0.0)
    """
    got, expected = words(answer), words(wanted)
    common = sum((Counter(got) & Counter(expected)).values())
    return 2 * common / (len(got) + len(expected)) if common else 0.0
