"""What is trained and what is frozen, and whether what is trained has moved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from torch import nn
from torch.utils.hooks import RemovableHandle

from realdata.peft_ml.digests import tensor_digest

Parameters: TypeAlias = Mapping[str, nn.Parameter]


class UntrainedError(RuntimeError):
    """A part that should be trained is as it was."""


class Row(NamedTuple):
    """One line of the table.

    Parameters
    ----------
    state
        ``trained`` or ``frozen``.
    part
        What it is.
    tensors, numbers
        How many; of each task, where the line stands for all of them.
    remark
        Why it is frozen.
    """

    state: str
    part: str
    tensors: int
    numbers: int
    remark: str = ""


class Trained:
    """The parts of a model that are trained, as they are now, and a check that they have moved since.

    A part counts as trained once a gradient that is not zero has reached one of its tensors and that tensor has other
    values than now. Either alone is not enough: weight decay moves what no gradient reaches, and gradients move nothing
    that the optimizer does not hold. One tensor is: the factor of LoRA that does not start at zero has no gradient in
    the first step. Values are kept as hashes. Make it before the first step, with the model on its device, and take
    gradients by ``backward``.

    Parameters
    ----------
    shared
        Parameters of each part that all tasks share, by the part's name.
    own
        Parameters of each task's own, by the task's name.
    frozen
        Parameters that are not trained, by what they are and why.
    notes
        Further lines of the table.
    """

    def __init__(
        self,
        shared: Mapping[str, Parameters],
        own: Mapping[str, Parameters] | None = None,
        *,
        frozen: Mapping[tuple[str, str], Parameters] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Take down the values and watch for gradients."""
        own = own or {}
        self.rows = _rows(shared, own, frozen or {})
        self._notes = tuple(notes)
        self._parts = {**shared, **{f"adapter of {task}": parameters for task, parameters in own.items()}}
        self._start = {
            (part, name): tensor_digest(parameter)
            for part, parameters in self._parts.items()
            for name, parameter in parameters.items()
        }
        self._reached: set[tuple[str, str]] = set()
        self._hooks: dict[tuple[str, str], RemovableHandle] = {}
        for key in self._start:
            self._watch(key)

    def __str__(self) -> str:
        """Return the table."""
        width = max(len(row.part) for row in self.rows)
        lines = [
            f"{row.state:7}  {row.part:{width}}  {row.tensors:4} tensors  {row.numbers:13,} numbers  {row.remark}"
            for row in self.rows
        ]
        return "\n".join(line.rstrip() for line in [*lines, *self._notes])

    @property
    def reached(self) -> list[tuple[str, str]]:
        """Part and name of every tensor that a gradient has reached, for a checkpoint."""
        return sorted(self._reached)

    @property
    def numbers(self) -> int:
        """Number of parameters that are trained, of all tasks."""
        own = {id(p): p for part in self._parts.values() for p in part.values() if p.requires_grad}
        return sum(parameter.numel() for parameter in own.values())

    def go_on(self, reached: Iterable[Sequence[str]]) -> None:
        """Take over what a gradient had reached when the checkpoint was written."""
        for part, name in reached:
            self._reached.add((part, name))
            self._hooks.pop((part, name)).remove()

    def still(self) -> dict[str, list[str]]:
        """Return by part the tensors that no gradient has reached so far, or that have not moved."""
        found: dict[str, list[str]] = {}
        for part, name in self._start:
            if (part, name) not in self._reached or not self._changed(part, name):
                found.setdefault(part, []).append(name)
        return found

    def check(self) -> None:
        """Raise unless every part has moved; call it after one pass over all tasks.

        Raises
        ------
        UntrainedError
            If a part has not, naming each that has not, and why.
        """
        still = self.still()
        untrained = [
            f"{part} ({self._reason(part)})"
            for part, parameters in self._parts.items()
            if len(still.get(part, ())) == len(parameters)
        ]
        if untrained:
            raise UntrainedError(f"not trained after a pass over all tasks: {', '.join(untrained)}")
        for hook in self._hooks.values():
            hook.remove()

    def _changed(self, part: str, name: str) -> bool:
        return tensor_digest(self._parts[part][name]) != self._start[part, name]

    def _reason(self, part: str) -> str:
        parameters = self._parts[part]
        if any(reached == part for reached, _ in self._reached):
            return "gradients reach it, but no step moves it: is it in the optimizer?"
        if not any(parameter.requires_grad for parameter in parameters.values()):
            return "it requires no gradient" if parameters else "it has no parameters"
        if any(self._changed(part, name) for name in parameters):
            return "no gradient reaches it, so weight decay alone moves it"
        return "no gradient reaches it"

    def _watch(self, key: tuple[str, str]) -> None:
        """Note when a gradient that is not zero reaches a tensor; the hook asks until then and no longer."""
        part, name = key
        parameter = self._parts[part][name]
        if not parameter.dtype.is_floating_point:
            return
        flag = parameter.requires_grad
        parameter.requires_grad_(True)  # torch takes hooks only of such
        hook = partial(self._note, key)
        self._hooks[key] = parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
        parameter.requires_grad_(flag)

    def _note(self, key: tuple[str, str], parameter: nn.Parameter) -> None:
        if parameter.grad is not None and bool(parameter.grad.any()):
            self._reached.add(key)
            self._hooks.pop(key).remove()


def plain_trained(model: nn.Module) -> Trained:
    """Return the table of a model without adapters: what requires a gradient is trained."""
    named = dict(model.named_parameters())
    frozen = {name: parameter for name, parameter in named.items() if not parameter.requires_grad}
    return Trained(
        {"model": {name: parameter for name, parameter in named.items() if name not in frozen}},
        frozen={("model", "requires_grad is off"): frozen},
        notes=frozen_note(named),
    )


def frozen_note(parameters: Parameters, *, most: int = 12) -> list[str]:
    """Return a line that names the parameters with requires_grad off, if there are any.

    Of more than `most`, those of a module that is frozen as a whole go by its name, as in ``encoder.*``.
    """
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if len(frozen) > most:
        trained = {part for name in parameters.keys() - set(frozen) for part in _prefixes(name)}
        whole = {name: next((part for part in _prefixes(name) if part not in trained), name) for name in frozen}
        frozen = list(dict.fromkeys(part if part == name else f"{part}.*" for name, part in whole.items()))
    return [f"requires_grad is off: {', '.join(frozen)}"] if frozen else []


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _rows(
    shared: Mapping[str, Parameters], own: Mapping[str, Parameters], frozen: Mapping[tuple[str, str], Parameters]
) -> tuple[Row, ...]:
    rows = [
        _row("trained", part, [parameter for parameter in parameters.values() if parameter.requires_grad])
        for part, parameters in shared.items()
    ]
    if own:
        tasks = f"each of {len(own)} tasks" if len(own) > 1 else next(iter(own))
        first = next(iter(own.values()))  # the same settings make the same tensors for every task
        copied = {name for name in first if "modules_to_save" in name.split(".")}
        layers = [parameter for name, parameter in first.items() if name not in copied]
        rows.append(_row("trained", f"adapter of {tasks}", layers))
        rows.append(_row("trained", f"copied head of {tasks}", [first[name] for name in copied]))
    rows += [_row("frozen", part, parameters.values(), remark) for (part, remark), parameters in frozen.items()]
    return tuple(row for row in rows if row.tensors)


def _row(state: str, part: str, parameters: Collection[nn.Parameter], remark: str = "") -> Row:
    return Row(state, part, len(parameters), sum(parameter.numel() for parameter in parameters), remark)
