"""Tensors for whole batches: in a loader worker they stand in shared memory from the start."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from trainer.data.shared_batches import batch_dtype, empty_batch


class Batches(Dataset[dict[str, Any]]):
    """Batches of two rows that hold the batch's number, and what a worker knows of them."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> dict[str, Any]:
        batch = empty_batch(2, 3, dtype=torch.float16)
        batch.numpy()[:] = number
        return {"rows": batch, "part": batch[:1], "shared": batch.is_shared()}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_arrives_as_it_was_filled_and_a_worker_fills_it_in_shared_memory(workers):
    for number, batch in enumerate(DataLoader(Batches(), batch_size=None, num_workers=workers)):
        assert batch["rows"].tolist() == [[number] * 3] * 2
        assert batch["part"].tolist() == [[number] * 3]
        assert batch["shared"] == bool(workers)
        assert batch["rows"].dtype == torch.float16


def test_the_dtype_of_a_batch_holds_the_vectors_of_all_datasets():
    half, single = np.dtype("float16"), np.dtype("float32")
    assert batch_dtype(half, half) == torch.float16
    assert batch_dtype(half, single) == torch.float32
