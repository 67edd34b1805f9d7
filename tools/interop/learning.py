"""How the model of imported vectors makes them, as its own files say where they are on this machine."""

from store.common.errors import ConfigError
from store.core.spec import UNKNOWN, FieldSpec
from tools.interop.config import ImportConfig


def learn(config: ImportConfig) -> FieldSpec | None:
    """What ``keyclip embed`` with this model would record; None where the model's files are not on this machine.

    Looks into the folder ``--model``, or for a hub id into the hub's cache; nothing is downloaded, and no weights are
    loaded. Caption field and dtype of the result mean nothing.

    Raises:
        KeyclipError: the model's files are damaged.
    """
    if config.model is None:
        return None
    from embedder.models.folder import find_model

    try:
        folder = find_model(config.model, config.revision, at_hand=True)
    except ConfigError:
        return None
    if not (folder.path / "config.json").is_file():
        return None
    from embedder.models.load import describe  # loads torch
    from embedder.models.options import ModelOptions

    options = ModelOptions(model=config.model, revision=config.revision, kind=config.kind or "auto")
    return describe(options, at_hand=True).provenance.spec("", "float16")


def unknown_model(spec: FieldSpec) -> str | None:
    """A sentence for the report on a field whose model is not known well enough to be mixed; None for others."""
    if spec.revision != UNKNOWN:
        return None
    return (
        f"the files of model {spec.model!r} are not on this machine, so that it is recorded as revision {UNKNOWN!r}: "
        "keyclip embed cannot add to these fields, nor does training take them together with its fields. To use them "
        "together, import with --model as the model's folder, or with --revision, --template, --pooling and "
        "--max-length"
    )
