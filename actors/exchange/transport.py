"""How rows and weights get from one process to another: here through host memory and Ray's object store.

    shard                                                      trainer
    stage_rows: device -> host, on the device's own stream
    send: ray.put, one reference in the call  ---------------> to_tensor: host -> the trainer's device
    get_reply, get_weights  <--------------------------------- put_weights: device -> host -> ray.put

Another transport, such as one from GPU to GPU, is another class with these methods, given to the ActorLearner and the DistillerTrainer.
"""

from collections.abc import Sequence

import numpy as np
import ray
import torch
from ray import ObjectRef
from ray.actor import ActorHandle
from torch import Tensor

from actors.exchange.messages import Payload, Reply, ShardMessage
from esamp.distiller.hidden_rows import HiddenRows


class StagedRows:
    """Hidden states [R, H] of one decode step on their way to the host."""

    def __init__(self, rows: HiddenRows) -> None:
        # Not awaited: the copy is queued behind the step's own work, and the decode thread goes on. Untested on a GPU.
        self._source_RH = rows.source_RH.to("cpu", non_blocking=True)
        self._target_RH = rows.target_RH.to("cpu", non_blocking=True)
        self._copied: torch.cuda.Event | None = None
        if rows.source_RH.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()

    def read(self, rows: Sequence[int] | None = None) -> tuple[Payload, Payload]:
        """Source and target, fp32, of all rows or of the given ones. Waits for the copy."""
        if self._copied is not None:
            self._copied.synchronize()
        # To fp32 here and not in __init__: numpy has no bfloat16, and half the bytes cross from the device.
        source: Payload = self._source_RH.float().numpy()
        target: Payload = self._target_RH.float().numpy()
        return (source, target) if rows is None else (source[rows], target[rows])


class Transport:
    """Ray's object store. Has no state, so shards and trainers each make their own."""

    def stage_rows(self, rows: HiddenRows) -> StagedRows:
        """Begin to move the rows of one step; called by the decode thread, and returns at once."""
        return StagedRows(rows)

    def pack(self, weights_P: Tensor) -> Payload:
        """Weights [P] for a message. A copy: the decode thread may change the bank before the message is sent."""
        array: Payload = weights_P.cpu().numpy().copy()
        return array

    def to_tensor(self, payload: Payload, device: torch.device, rows: Sequence[int] | None = None) -> Tensor:
        """What a message carried, on `device`: all of it, or some of its rows."""
        # Copied either way: the store's memory is read-only, which torch cannot express.
        return torch.from_numpy(payload.copy() if rows is None else payload[rows]).to(device)

    def send(self, trainer: ActorHandle, message: ShardMessage) -> ObjectRef:
        """Call the trainer with a message; its reply to come. Raises RayError."""
        # By reference: as a plain argument the arrays would be serialised into the call itself, in the driver's memory.
        reply: ObjectRef = trainer.exchange.remote(ray.put(message))
        return reply

    def arrived(self, replies: list[ObjectRef], *, timeout_s: float, all_of_them: bool) -> set[ObjectRef]:
        """Those that have arrived. Waits, in C and without the interpreter lock, for the first one or for all; at most `timeout_s`."""
        if not replies:
            return set()
        wanted = len(replies) if all_of_them else 1
        done, _ = ray.wait(replies, num_returns=wanted, timeout=timeout_s, fetch_local=False)
        return set(done)

    def get_reply(self, reply: ObjectRef) -> Reply:
        """A reply that has arrived. Raises RayError if the trainer was lost."""
        received: Reply = ray.get(reply)
        return received

    def put_weights(self, weights_GP: Tensor) -> tuple[list[ObjectRef], int]:
        """Publish weights: what Reply.weights holds, and their bytes."""
        array: Payload = weights_GP.cpu().numpy()
        return [ray.put(array)], array.nbytes

    def get_weights(self, reply: Reply) -> Tensor | None:
        """Weights [G, P] on the host; None if the reply has none. Raises RayError if the trainer was lost.

        A copy: as long as anybody holds the store's array, the store keeps the whole weight update.
        """
        if not reply.weights:
            return None
        return torch.from_numpy(np.array(ray.get(reply.weights[0])))
