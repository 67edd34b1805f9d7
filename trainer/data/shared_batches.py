"""Batches that a loader worker hands over without a copy."""

import math

import numpy as np
import torch
from torch.utils.data import get_worker_info


def empty_batch(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised tensor for a whole batch, to be filled row by row.

    In a loader worker it is in shared memory from the start. Any other tensor is copied there when it is sent to the
    training process; with that copy and one into the batch, images would cost half as much again as decoding them.
    """
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, str(dtype).removeprefix("torch.")))  # numpy asks for large pages
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize, device="cpu")
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


def batch_dtype(*dtypes: np.dtype) -> torch.dtype:
    """The torch dtype that holds the vectors of all these numpy dtypes as they are."""
    return torch.from_numpy(np.empty(0, np.result_type(*dtypes))).dtype
