"""The DistillerTrainers of a run: M actors, each with its part of the groups (actors/exchange/group_names.py: trainer_of)."""

import math
import os
from dataclasses import replace

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.errors import TrainerStartError, last_line
from actors.names import actor_name
from actors.trainers.distiller_trainer import DistillerTrainer
from actors.types import TrainerSpec, TrainerStats

SLACK = 1.5
"""Slots of a trainer relative to its even part of the groups: a hash spreads them unevenly."""
MORE_SLOTS = 8
"""As many more: among few groups the hash is more uneven."""
LOWEST_PRIORITY = 19
"""As `nice`: a trainer that falls behind costs lag, an engine that waits for a core costs tokens."""


class TrainerActor(DistillerTrainer):
    """A DistillerTrainer that yields its processor to the engines of its machine."""

    def __init__(self, spec: TrainerSpec) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
        super().__init__(spec)

    def __repr__(self) -> str:
        """The word by which warnings name it: see actors/warning_log.py."""
        return f"trainer {self.incarnation}"


def slots_per_trainer(max_groups: int, num_trainers: int) -> int:
    """Slots that each of the trainers needs for `max_groups` groups in all; more would be of no use."""
    if num_trainers == 1:
        return max_groups
    return min(max_groups, math.ceil(SLACK * max_groups / num_trainers) + MORE_SLOTS)


class TrainerPool:
    """Starts trainers together and ends them together. One that dies is started again, for as long as it takes."""

    def __init__(self, spec: TrainerSpec, *, num_trainers: int, num_gpus: float = 0.0) -> None:
        """`spec.max_groups`: of all trainers together. `num_gpus` of each: see ExchangeConfig.trainer_gpus.

        Waits until they have started. Raises TrainerStartError with the reason of one that did not.
        """
        each = replace(
            spec,
            max_groups=slots_per_trainer(spec.max_groups, num_trainers),
            device="cuda" if num_gpus > 0 else spec.device,
        )
        actor_class = ray.remote(TrainerActor)
        self.handles: tuple[ActorHandle, ...] = tuple(
            actor_class.options(
                name=actor_name(f"trainer-{number}"), num_cpus=0, num_gpus=num_gpus, max_restarts=-1
            ).remote(each)
            for number in range(num_trainers)
        )
        try:
            ray.get([trainer.ping.remote() for trainer in self.handles])
        except RayError as error:
            self.stop()
            raise TrainerStartError(last_line(error)) from error
        except BaseException:  # Ctrl-C too: nobody else holds the handles yet
            self.stop()
            raise

    def stats(self) -> TrainerStats:
        """Counters of all of them together, each since it last started."""
        return TrainerStats.total(ray.get([trainer.stats.remote() for trainer in self.handles]))

    def stop(self) -> None:
        """End every trainer."""
        for trainer in self.handles:
            ray.kill(trainer)
        self.handles = ()
