"""The model that made a field, loaded again for new texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, get_args

import store
from embedder.models.options import Pooling
from store.common.errors import ConfigError

if TYPE_CHECKING:
    from embedder.models.encoder import Encoder

_CAUSAL = ", causal"


def load_model(field: store.Field, model: str | None, adapters: Sequence[str] = (), device: str = "auto") -> "Encoder":
    """The encoder that makes vectors like the field's.

    Args:
        field: its spec names the model, its pooling, template and length.
        model: folder or hub id; by default the hub id in the spec. A store does not know the path of a model that came
            from a folder, only its name and fingerprint.
        adapters: folders or hub ids of the adapters of a decoder LLM; by default the ids in the spec.
        device: ``auto``, ``cpu``, ``cuda`` ...

    Raises:
        ConfigError: the model is not available, or is not the one that made the field.
    """
    from embedder.models.load import load_encoder  # loads torch
    from embedder.models.options import CAPTION, ModelOptions

    spec = field.spec
    name, *own_adapters = spec.model.split("+")
    if model is None and spec.revision.startswith("xxh3:"):
        raise ConfigError(
            f"field {field.name!r} was made by a model in a folder ({spec.model!r}, {spec.revision}), and the store "
            "does not know where that is; name the folder with --model"
        )
    options = ModelOptions(
        model=model or name,
        kind=spec.kind,
        revision=None if model else spec.revision.split("+")[0],
        template=spec.template or CAPTION,
        pooling=None if spec.kind == "clip-text" else _pooling(field),
        normalize=spec.normalize,
        max_length=spec.max_length,
        device=device,
        attention="causal" if spec.pooling.endswith(_CAUSAL) else "auto",
        adapters=tuple(adapters or own_adapters),
    )
    try:
        encoder = load_encoder(options)
    except ConfigError as error:
        if model is not None:
            raise
        raise ConfigError(f"{error}; name the folder of the model of field {field.name!r} with --model") from error
    _require_same(field, encoder, model or name)
    return encoder


def choose_model(field: store.Field, models: Sequence[str]) -> str | None:
    """The one of several models (folders or hub ids) that made the field; the first if no revision matches."""
    from embedder.models.folder import find_model

    if len(models) > 1:
        revision = field.spec.revision.split("+")[0]
        for model in models:
            if find_model(model).revision == revision:
                return model
    return models[0] if models else None


def _require_same(field: store.Field, encoder: "Encoder", place: str) -> None:
    """Refuse another model. Revisions are compared unless one is a folder's fingerprint and one a hub's commit."""
    made, spec = encoder.provenance, field.spec
    comparable = ("xxh3:" in made.revision) == ("xxh3:" in spec.revision)
    pairs = [(n, getattr(made, n), getattr(spec, n)) for n in ("revision", "dim", "pooling")[not comparable :]]
    clauses = [f"{name} {there!r}, not {wanted!r}" for name, there, wanted in pairs if there != wanted]
    if clauses:
        raise ConfigError(
            f"the model at {place!r} is not the one that made field {field.name!r} ({spec.model!r}): it has "
            f"{'; '.join(clauses)}; name the right one with --model"
        )


def _pooling(field: store.Field) -> Pooling:
    """The pooling of the field's model; an imported field may name an unknown one."""
    name = field.spec.pooling.removesuffix(_CAUSAL)
    if name not in get_args(Pooling):
        raise ConfigError(
            f"field {field.name!r} was made with pooling {name!r}, which is none of {', '.join(get_args(Pooling))}; "
            "search by a key, or with vectors"
        )
    return cast(Pooling, name)
