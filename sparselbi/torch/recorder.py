"""When which group is selected, written down while a network trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ._dynamics import current_duals, path_time
from ._shards import sum_over_processes
from .layouts import own_split_norms
from .masks import named_sets

if TYPE_CHECKING:
    import pandas as pd

    from ..path import RegularizationPath

__all__ = ["PathRecorder"]

NEVER = -1


class _Record(NamedTuple):
    """The state after some step."""

    step: int
    time: float
    counts: Tensor  # selected groups, one number per set
    norms: list[Tensor]  # of the split groups per set; one norm if there are many


class PathRecorder:
    """Watches an optimizer and records the path of its groups.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        `DessiLBI`, or an optimizer that is coupled already.
    model : torch.nn.Module or None
        For the names of the tensors, if the optimizer was not given names.
    every : int, default=10
        Steps between two looks at the support: the resolution of the entries. A look
        costs about one pass over the duals.
    n_knots : int, default=100
        Norms of the groups are kept at between `n_knots` and ``2 * n_knots`` evenly
        spaced looks, however long the training.
    max_groups : int, default=4096
        Sets with more groups (single weights) are recorded by their number of selected
        groups and one norm; their entries are kept for every group nevertheless.

    Attributes
    ----------
    names : tuple of str
        The sets of groups.

    Raises
    ------
    ValueError
        If nothing is registered, a registered tensor is not in `model`, or a number is
        not a positive integer.

    Notes
    -----
    Path time is `DessiLBI.path_time`, one clock for all tensors. A group that is
    selected when the recorder is made counts as entering then. Nothing is copied from
    a GPU while training; memory is one integer per group and the norms.

    If the parameters are sharded (`fully_shard`), the recorder must be made on every
    process, and every process must call its methods (`fractions` and ``repr`` excepted,
    which need no others); all get the same reports. The entries of single weights are
    then held in shards, too, while `state_dict` is that of one process: it can be
    loaded whatever the number of processes.

    Examples
    --------
    >>> import torch
    >>> from sparselbi.torch import DessiLBI, PathRecorder, groups_for
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = DessiLBI(groups_for(model, "layer"), lr=0.1, nu=2, lam=0.1)
    >>> recorder = PathRecorder(optimizer, every=1)
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(1, 3)).square().sum().backward()
    ...     optimizer.step()
    >>> recorder.entries()
         name  group  step  time      norm
    0  weight      0     3   0.3  0.139...
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: nn.Module | None = None,
        *,
        every: int = 10,
        n_knots: int = 100,
        max_groups: int = 4096,
    ) -> None:
        for name, value in (
            ("every", every),
            ("n_knots", n_knots),
            ("max_groups", max_groups),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}={value!r} must be an integer >= 1.")
        self.optimizer, self.model = optimizer, model
        self.every, self.n_knots, self.max_groups = every, n_knots, max_groups
        pairs = named_sets(model, optimizer)  # raises where there is nothing
        self.names = tuple(" + ".join(names) for _, names in pairs)
        self._tensors = [names for _, names in pairs]
        self._sizes = [groups.n_groups for groups, _ in pairs]
        # Of what this process knows: all groups, except of single weights in shards.
        self._entry = [
            torch.full((s.n_own,), NEVER, dtype=torch.int64, device=s.params[0].device)
            for s, _ in pairs
        ]
        self._scattered = {k: s for k, (s, _) in enumerate(pairs) if s.scattered}
        self._n_entered: dict[int, Tensor] = {}  # of these
        self._steps: list[int] = []  # of the looks, with their path times
        self._times: list[float] = []
        self._records: list[_Record] = []
        self._stride = 1  # looks between two records
        self._look()
        self._handle = optimizer.register_step_post_hook(self._after)

    def remove(self) -> None:
        """Stop recording; what was recorded stays."""
        self._handle.remove()

    def look(self) -> None:
        """Look at the support now, if the last step was not followed by a look."""
        if self._steps[-1] != self._now():
            self._look()

    def __repr__(self) -> str:
        entered = sum(
            int(self._n_entered[k] if k in self._scattered else (entry != NEVER).sum())
            for k, entry in enumerate(self._entry)
        )
        return (
            f"PathRecorder({entered} of {sum(self._sizes)} groups entered by path time "
            f"{self._times[-1]:.4g}, step {self._steps[-1]})"
        )

    # ----------------------------------------------------------------------- recording

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        step = self._now()
        if step % self.every == 0 and step != self._steps[-1]:
            self._look()

    def _now(self) -> int:
        """Steps so far; those that a GradScaler skipped do not count."""
        return max(group.get("n_steps", 0) for group in self.optimizer.param_groups)

    @torch.no_grad()
    def _look(self) -> None:
        step, time = self._now(), path_time(self.optimizer)
        if self._steps and step < self._steps[-1]:
            raise RuntimeError(
                f"The optimizer is at step {step}, and the recorder has seen step "
                f"{self._steps[-1]}: a state was loaded into the optimizer. Load the "
                f"one of the recorder from then, too, or make a new recorder and "
                f"remove() this one."
            )
        if self._times and time <= self._times[-1]:
            return  # a learning rate of zero: nothing has moved
        sets = [groups for groups, _ in named_sets(self.model, self.optimizer)]
        if len(sets) != len(self._sizes):
            raise RuntimeError(
                f"The optimizer had {len(self._sizes)} sets of groups when the "
                f"recorder was made and has {len(sets)}: param groups were added. Make "
                f"a new recorder, and remove() this one."
            )
        for k, groups in enumerate(sets):
            if groups.n_groups != self._sizes[k]:
                raise RuntimeError(
                    f"{self.names[k]!r} had {self._sizes[k]} groups when the recorder "
                    f"was made and has {groups.n_groups}: the optimizer was changed. "
                    f"Make a new recorder."
                )
        duals = [current_duals(self.optimizer, groups) for groups in sets]
        counts, norms, parts = [], [], {}
        for k, now in enumerate(own_split_norms(sets, duals)):
            inside, entry = now > 0, self._entry[k]
            entry[inside & (entry == NEVER)] = step
            counts.append(inside.sum())
            wide = self._sizes[k] > self.max_groups
            norms.append(now.norm()[None] if wide else sets[k].whole(now))
            if k in self._scattered:
                own = [counts[k], (entry != NEVER).sum(), now.norm().square()]
                parts[k] = torch.stack([value.double() for value in own])
        sum_over_processes(list(parts.values()), [sets[k].processes for k in parts])
        for k, (count, entered, square) in parts.items():
            counts[k], self._n_entered[k] = count.long(), entered
            if self._sizes[k] > self.max_groups:
                norms[k] = square.sqrt()[None].to(norms[k].dtype)
        first = counts[0].device
        record = _Record(step, time, torch.stack([c.to(first) for c in counts]), norms)
        if len(self._steps) % self._stride == 0:
            self._records.append(record)
            if len(self._records) > 2 * self.n_knots:
                self._records = self._records[::2]
                self._stride *= 2
        self._steps.append(step)
        self._times.append(time)
        self._last = record

    # ------------------------------------------------------------------------- reports

    def entry_steps(self) -> dict[str, Tensor]:
        """First step after which each group was seen selected, -1 for never.

        One tensor of shape (n_groups,) per set. An entry happened at most `every`
        steps earlier.
        """
        entries = zip(self.names, self._whole_entries(), strict=True)
        return {name: entry.cpu() for name, entry in entries}

    def _whole_entries(self) -> list[Tensor]:
        return [
            self._scattered[k].whole(entry) if k in self._scattered else entry.clone()
            for k, entry in enumerate(self._entry)
        ]

    def entry_times(self) -> dict[str, Tensor]:
        """The same in path time, inf for never, in float64."""
        return {
            name: torch.from_numpy(self._times_of(entry.numpy()))
            for name, entry in self.entry_steps().items()
        }

    def _times_of(self, entry: np.ndarray) -> np.ndarray:
        times = np.array([*self._times, np.inf])
        position = np.searchsorted(np.array(self._steps), entry)
        position[entry == NEVER] = len(self._steps)
        return times[position]

    def entries(self, name: str | None = None) -> pd.DataFrame:
        """Groups in the order in which they entered.

        Parameters
        ----------
        name : str or None
            One of `names`; None for all sets.

        Returns
        -------
        pandas.DataFrame
            Columns ``name``, ``group``, ``step``, ``time`` and ``norm``, that of the
            split weights now, which breaks ties (larger first). Groups that never
            entered are left out.

        Raises
        ------
        ValueError
            If `name` is not recorded.
        """
        import pandas as pd

        if name is not None and name not in self.names:
            raise ValueError(f"name={name!r} is not recorded; use one of {self.names}.")
        sets = [groups for groups, _ in named_sets(self.model, self.optimizer)]
        duals = [current_duals(self.optimizer, groups) for groups in sets]
        found, frames = self.entry_steps(), []
        for k, norms in enumerate(own_split_norms(sets, duals)):
            if name not in (None, self.names[k]):
                continue
            steps = found[self.names[k]].numpy()
            index = np.flatnonzero(steps != NEVER)
            frames.append(
                pd.DataFrame(
                    {
                        "name": self.names[k],
                        "group": index,
                        "step": steps[index],
                        "time": self._times_of(steps[index]),
                        "norm": sets[k].whole(norms).double().cpu().numpy()[index],
                    }
                )
            )
        table = pd.concat(frames, ignore_index=True)
        order = np.lexsort((table.index, -table["norm"], table["step"]))
        return table.iloc[order].reset_index(drop=True)

    def fractions(self) -> pd.DataFrame:
        """Share of selected groups over time, one column per set.

        The index is path time; a column ``step`` counts steps.
        """
        import pandas as pd

        records = self._all_records()
        counts = np.array([record.counts.cpu().numpy() for record in records])
        shares = counts / np.array(self._sizes)
        table = pd.DataFrame(
            shares,
            columns=list(self.names),
            index=pd.Index([record.time for record in records], name="t"),
        )
        table.insert(0, "step", [record.step for record in records])
        return table

    def masks_at(self, t: float) -> dict[str, Tensor]:
        """Masks of the groups that had entered by path time `t`.

        Parameters
        ----------
        t : float
            Between 0 and the path time of the last look.

        Returns
        -------
        dict of str to bool Tensor
            One mask per registered tensor, on its device. They grow with `t`: a group
            stays in them if it is dropped later. For the support of now see
            `group_masks`.

        Raises
        ------
        ValueError
            If `t` is out of range.
        """
        last = self._times[-1]
        if not 0 <= t <= last * (1 + 1e-12):
            raise ValueError(
                f"t={t!r} must lie between 0 and the path time of the last look, "
                f"{last:.6g} (step {self._steps[-1]})."
            )
        reached = np.searchsorted(self._times, t * (1 + 1e-12), side="right") - 1
        step = self._steps[reached] if reached >= 0 else NEVER
        masks: dict[str, Tensor] = {}
        for k, (groups, names) in enumerate(named_sets(self.model, self.optimizer)):
            entry = self._entry[k]
            inside = groups.whole((entry != NEVER) & (entry <= step))
            masks.update(zip(names, groups.masks(inside), strict=True))
        return masks

    def to_path(self) -> RegularizationPath:
        """The norms of the split groups as a path.

        Returns
        -------
        RegularizationPath
            One feature per group, named ``"<tensor>[<group>]"``; a set with more than
            `max_groups` groups is one feature, ``"<tensor>[all]"``. The coefficients
            are norms of split groups at the recorded steps, linear between them;
            entries are those that were seen, leavings are placed at the next recorded
            step. ``info`` has ``step`` (of the knots), ``names`` and ``first`` (first
            feature of each set, and their number at the end).

        Notes
        -----
        Looks at the present state first, so that the path ends now.
        """
        from ..path import EVENT_DTYPE, RegularizationPath
        from ..penalties import get_penalty
        from ._network_loss import NetworkLoss

        self.look()
        records = self._all_records()
        knots = np.array([record.time for record in records])
        norms = np.concatenate(
            [
                np.stack([record.norms[k].double().cpu().numpy() for record in records])
                for k in range(len(self.names))
            ],
            axis=1,
        )
        sizes = [len(norm) for norm in records[0].norms]
        names, entry = [], []
        for k, times in enumerate(self.entry_times().values()):
            narrow = len(times) == sizes[k]
            labels = range(sizes[k]) if narrow else ("all",)
            names += [f"{self.names[k]}[{label}]" for label in labels]
            entry.append(times.numpy() if narrow else times.min().numpy()[None])
        first = np.concatenate(entry)
        events = _events(knots, norms, first)
        active = np.flatnonzero(np.isfinite(first))
        options = next(g for g in self.optimizer.param_groups if g.get("groups"))
        return RegularizationPath(
            knots=knots,
            active_features=active,
            active_coefs=norms[:, active],
            intercepts=np.zeros(len(knots)),
            n_features=norms.shape[1],
            events=np.array(events, dtype=EVENT_DTYPE),
            interpolation="linear",
            method="dessilbi",
            loss=NetworkLoss(),
            penalty=get_penalty("group"),
            n_samples=float("nan"),  # known to the training loop only
            t0=float(np.min(first)) if len(active) else None,
            kappa_raw=float(options["kappa"]),
            feature_names=tuple(names),
            status="stopped",
            message="Recorded up to the last training step.",
            n_iter=self._now(),
            info={
                "step": np.array([record.step for record in records]),
                "names": list(self.names),
                "first": np.cumsum([0, *sizes]),
                "nu": float(options["nu"]),
            },
            size=(norms > 0).sum(axis=1),
        )

    def _all_records(self) -> list[_Record]:
        """The kept records and the last look."""
        if self._records[-1].step == self._last.step:
            return self._records
        return [*self._records, self._last]

    # --------------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything recorded, as numbers, strings and tensors.

        Save it beside the state of the optimizer; ``torch.load(weights_only=True)``
        reads it.
        """
        records = self._all_records()
        return {
            "every": self.every,
            "n_knots": self.n_knots,
            "max_groups": self.max_groups,
            "names": list(self.names),
            "entry": self._whole_entries(),
            "steps": list(self._steps),
            "times": list(self._times),
            "stride": self._stride,
            "n_kept": len(self._records),
            "records": [
                [r.step, r.time, r.counts.clone(), [n.clone() for n in r.norms]]
                for r in records
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a recorder of the same groups.

        Raises
        ------
        ValueError
            If the recorded groups are others.
        """
        ours = dict(zip(self.names, self._sizes, strict=True))
        theirs = dict(zip(state["names"], map(len, state["entry"]), strict=True))
        if list(ours.items()) != list(theirs.items()):
            raise ValueError(
                f"The state has the sets of groups {theirs}, this recorder {ours}: it "
                f"is that of another model."
            )
        self.every, self.n_knots = state["every"], state["n_knots"]
        self.max_groups, self._stride = state["max_groups"], state["stride"]
        for k, saved in enumerate(state["entry"]):
            if k in self._scattered:
                self._n_entered[k] = (saved != NEVER).sum()
                saved = self._scattered[k].own(saved)
            self._entry[k].copy_(saved)
        self._steps, self._times = list(state["steps"]), list(state["times"])
        records = []
        for step, time, counts, norms in state["records"]:
            places = [entry.device for entry in self._entry]
            moved = [n.to(d, copy=True) for n, d in zip(norms, places, strict=True)]
            records.append(_Record(step, time, counts.to(places[0], copy=True), moved))
        self._records, self._last = records[: state["n_kept"]], records[-1]


def _events(
    knots: np.ndarray, norms: np.ndarray, first: np.ndarray
) -> list[tuple[Any, ...]]:
    """Entries and leavings: the first entry as seen, later moves as the knots show."""
    events: list[tuple[Any, ...]] = []
    for j in np.flatnonzero(np.isfinite(first)):
        if norms[0, j] == 0:
            events.append((first[j], j, -1, 1, True))
        inside = True
        for k in range(np.searchsorted(knots, first[j]), len(knots)):
            if inside and norms[k, j] == 0:
                events.append((knots[k], j, -1, 1, False))
            elif not inside and norms[k, j] > 0:
                events.append((knots[k - 1], j, -1, 1, True))
            inside = norms[k, j] > 0
    events.sort(key=lambda event: event[0])  # stable: a leaving before the next entry
    return events
