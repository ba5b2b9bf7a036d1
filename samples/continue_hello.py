"""Learn to continue "hello", a character at a time, with the plain RNN and with the LSTM.

    python samples/continue_hello.py [--cell rnn|lstm|gru ...] [--steps N] [--seed S]

The vocabulary is h, e, l, o. The network reads h, e, l, l and is to say e, l, l, o: the first l is
followed by another and the second by o, so it must remember what came before. Printed are its
scores at each step, as in a lecture's slide, and what it says when it is given "h" alone and lives
on what it says. Then it learns four such words, and its error falls as more of one is known: down
to what nobody could know better.

The cells are the network's own: on pictures of 1x1 pixels a convolution is a matrix product.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framepred.cells import build_cell
from framepred.unrolling import unroll

VOCABULARY = "helo"
WORD = "hello"
WORDS = ("hello", "heoll", "hollo", "hlelo")  # equally likely; after three characters one is left
N_HIDDEN = 8


class Speller(nn.Module):
    """Characters in, scores of the next one out."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = build_cell(f"{cell}+kernel1", len(VOCABULARY), N_HIDDEN)
        self.score = nn.Conv2d(N_HIDDEN, len(VOCABULARY), 1)

    def forward(self, text: str) -> Tensor:
        """Scores (log-odds up to a constant) of what follows each character, (len(text), 4)."""
        hidden, _ = unroll(self.cell, encode(text))
        scores: Tensor = self.score(hidden[0])[..., 0, 0]
        return scores

    def continue_alone(self, text: str, n: int) -> str:
        """Append ``n`` characters, each the likeliest after those before it."""
        for _ in range(n):
            text += VOCABULARY[int(self(text)[-1].argmax())]
        return text


@dataclass(frozen=True)
class Lesson:
    """What came of learning some words with one cell; errors are in nats."""

    cell: str
    scores: list[list[float]]  # of the first word: step, character of the vocabulary
    errors: list[float]  # of the next character, by how many are known; mean over the words
    errors_before: list[float]  # likewise, of the untrained network
    floor: list[float]  # likewise, of one who knows the words by heart
    said: str  # beginning with the first word's first character


def encode(text: str) -> Tensor:
    """One-hot pictures of 1x1 pixels, (1, len(text), 4, 1, 1)."""
    return F.one_hot(locate(text), len(VOCABULARY)).float()[None, :, :, None, None]


def locate(text: str) -> Tensor:
    """Places in the vocabulary, (len(text),)."""
    return torch.tensor([VOCABULARY.index(character) for character in text])


def measure(speller: Speller, words: Sequence[str]) -> Tensor:
    """Mean negative log-likelihood in nats of the next character, by how many are known, (4,)."""
    errors = [F.cross_entropy(speller(w[:-1]), locate(w[1:]), reduction="none") for w in words]
    return torch.stack(errors).mean(0)


def find_floor(words: Sequence[str]) -> list[float]:
    """The entropy of the next character given those before it, in nats."""
    floor = []
    for n in range(1, len(words[0])):
        alike = [sum(w[:n] == word[:n] for w in words) for word in words]
        same = [sum(w[: n + 1] == word[: n + 1] for w in words) for word in words]
        logs = [math.log(a / b) for a, b in zip(alike, same, strict=True)]
        floor.append(sum(logs) / len(words))
    return floor


def learn(cell: str, words: Sequence[str], *, n_steps: int = 150, seed: int = 0) -> Lesson:
    """Train on some words, all of one length."""
    torch.manual_seed(seed)
    speller = Speller(cell)
    optimizer = torch.optim.Adam(speller.parameters(), lr=0.03)
    with torch.no_grad():
        errors_before = measure(speller, words).tolist()
    for _ in range(n_steps):
        optimizer.zero_grad()
        measure(speller, words).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return Lesson(
            cell,
            scores=speller(words[0][:-1]).tolist(),
            errors=measure(speller, words).tolist(),
            errors_before=errors_before,
            floor=find_floor(words),
            said=speller.continue_alone(words[0][0], len(words[0]) - 1),
        )


def show_scores(lesson: Lesson) -> None:
    """Print what was learnt of one word as the slide does: a column for each step."""
    print(f"{lesson.cell}, {WORD!r}:")
    print("  reads             " + "".join(f"{character:>8}" for character in WORD[:-1]))
    for place, character in enumerate(VOCABULARY):
        values = "".join(f"{scores[place]:8.2f}" for scores in lesson.scores)
        print(f"  score of {character}        {values}")
    print("  should say        " + "".join(f"{character:>8}" for character in WORD[1:]))
    chosen = (VOCABULARY[scores.index(max(scores))] for scores in lesson.scores)
    print("  says              " + "".join(f"{character:>8}" for character in chosen))
    show_errors(lesson)
    print(f"  given {WORD[0]!r} alone it says {lesson.said!r}\n")


def show_errors(lesson: Lesson) -> None:
    for name, values in (
        ("error, untrained ", lesson.errors_before),
        ("error, trained   ", lesson.errors),
        ("least possible   ", lesson.floor),
    ):
        print(f"  {name} " + "".join(f"{value:8.3f}" for value in values))


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn to continue 'hello'.")
    parser.add_argument(
        "--cell", nargs="+", default=["rnn", "lstm"], choices=["rnn", "gru", "lstm"]
    )
    parser.add_argument("--steps", type=int, default=150, help="of the optimizer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for cell in options.cell:
        show_scores(learn(cell, [WORD], n_steps=options.steps, seed=options.seed))
    for cell in options.cell:
        lesson = learn(cell, WORDS, n_steps=2 * options.steps, seed=options.seed)
        print(f"{cell}, {', '.join(WORDS)}:")
        print("  characters known  " + "".join(f"{n:>8}" for n in range(1, len(WORD))))
        show_errors(lesson)


if __name__ == "__main__":
    main()
