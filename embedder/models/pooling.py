"""From a model's token states to one vector per caption.

Shapes: B captions, L tokens after padding, D width.
"""

from typing import Any, get_args

import torch
from torch import Tensor

from embedder.models.options import Pooling
from store.common.errors import ConfigError


def pool(states_BLD: Tensor, mask_BL: Tensor, text_BL: Tensor, pooling: str) -> Tensor:
    """Pool token states into (B, D) float32 vectors.

    ``mask_BL`` marks tokens that are not padding, ``text_BL`` the caption's first token and all after it (template
    before the caption excluded). Poolings: ``mean`` over all tokens; ``mean-text`` over the caption and what closes it
    (LLM2Vec's "mean" with skipped instruction); ``last`` and ``cls``: the last and the first token; ``max`` over all
    tokens. A caption without any pooled token gives zeros.

    Raises:
        ConfigError: there is no such pooling.
    """
    states_BLD = states_BLD.float()
    if pooling == "cls" or pooling == "last":
        positions = torch.arange(mask_BL.shape[1], device=mask_BL.device)
        last = pooling == "last"
        index_B = positions.where(mask_BL, -1 if last else mask_BL.shape[1]).aminmax(dim=1)[1 if last else 0]
        return states_BLD[torch.arange(len(states_BLD), device=states_BLD.device), index_B]
    if pooling == "max":
        return states_BLD.masked_fill(~mask_BL[:, :, None], -torch.inf).amax(dim=1)
    if pooling not in ("mean", "mean-text"):
        raise ConfigError(f"no pooling {pooling!r}; there are {', '.join(get_args(Pooling))}")
    weights_BL = (text_BL if pooling == "mean-text" else mask_BL).float()
    sums_BD = torch.einsum("bld,bl->bd", states_BLD, weights_BL)
    return sums_BD / weights_BL.sum(dim=1, keepdim=True).clamp(min=1)


_NAMES = {
    "mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max", "pooling_mode_lasttoken": "last",
}  # fmt: skip


def pooling_of_folder(settings: dict[str, Any], folder: str = "") -> str:
    """The pooling named by a sentence-transformers ``1_Pooling/config.json`` of the model ``folder``.

    Raises:
        ConfigError: it asks for a pooling, or a combination of poolings, that is not implemented here.
    """
    wanted = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    if isinstance(mode := settings.get("pooling_mode"), str):  # newer folders name the mode by one word
        wanted = [mode]
    if len(wanted) != 1 or wanted[0] not in _NAMES:
        raise ConfigError(
            f"the pooling of the model's folder {folder!r} ({' + '.join(wanted) or 'none'}) is not implemented; "
            "name one with --pooling"
        )
    name = _NAMES[wanted[0]]
    return "mean-text" if name == "mean" and settings.get("include_prompt") is False else name
