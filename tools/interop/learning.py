"""How the model of imported vectors makes them, learned from its own files where they are on this machine."""

from pathlib import Path

from store.common.errors import ConfigError
from store.core.spec import UNKNOWN, FieldSpec
from tools.interop.config import ImportConfig


def learn(config: ImportConfig) -> FieldSpec | None:
    """What ``keyclip embed`` with this model would record; None where the model's files are not on this machine.

    Looks into the folder ``--model``, or for a hub id into the hub's cache; nothing is downloaded, and no weights are
    loaded. Caption field and dtype of the result say nothing.

    Raises:
        KeyclipError: the model's files are damaged.
    """
    if config.model is None or not _at_hand(config.model, config.revision):
        return None
    from embedder.models.describe import describe  # loads torch
    from embedder.models.options import ModelOptions
    from embedder.models.text import CAPTION

    options = ModelOptions(model=config.model, revision=config.revision, kind=config.kind or "auto")
    made = describe(options, at_hand=True).provenance
    return FieldSpec(
        model=made.model,
        revision=made.revision,
        kind=made.kind,
        template="" if made.template == CAPTION else made.template,
        pooling=made.pooling,
        max_length=made.max_length,
        normalize=made.normalize,
        caption_field="",
        dim=made.dim,
    )


def unknown_model(spec: FieldSpec) -> str | None:
    """A sentence for the report on a field whose model is not known well enough to be mixed; None for others."""
    if spec.revision != UNKNOWN:
        return None
    return (
        f"the files of model {spec.model!r} are not on this machine, so that it is recorded as revision {UNKNOWN!r}: "
        "keyclip embed cannot add to these fields, nor does training take them together with its fields. If they shall "
        "meet, import with --model as the model's folder, or with --revision, --template, --pooling and --max-length"
    )


def _at_hand(model: str, revision: str | None) -> bool:
    if Path(model).expanduser().is_dir():
        return (Path(model).expanduser() / "config.json").is_file()
    from embedder.models.folder import find_model

    try:
        return (find_model(model, revision, at_hand=True).path / "config.json").is_file()
    except ConfigError:
        return False
