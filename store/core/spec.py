"""A field's provenance, written once when the field is made and compared by every later writer."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from store.common.errors import ConfigError, SpecMismatchError

Kind = Literal["llm", "sentence", "clip-text"]
UNKNOWN = "unknown"
"""Revision and pooling that an import records where it is not told how the vectors were made."""
UNKNOWN_REMEDY = (
    f"{UNKNOWN!r} is what an import records that finds no files of its model: import again into a field of another "
    "name, with --model as the model's folder, or with --revision, --template, --pooling and --max-length as keyclip "
    "store info shows them"
)
StoredDtype = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldSpec:
    """How the vectors of a field were made. Two fields with equal specs hold interchangeable vectors."""

    model: str
    """Model id or folder name, such as ``microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned``."""
    revision: str
    """Revision or fingerprint of the weights; tells apart two checkpoints of one name."""
    kind: Kind
    """What encoded the captions: a decoder ``llm``, a ``sentence`` encoder or CLIP's own text tower (``clip-text``)."""
    template: str
    """Prompt around the caption, with ``{}`` or a name where the caption goes; empty: the caption alone."""
    pooling: str
    """How token states became one vector, such as ``mean``, ``cls``, ``last`` or ``eos``."""
    max_length: int
    """Longest input in tokens; longer captions were cut."""
    normalize: bool
    """Whether the vectors have unit length."""
    caption_field: str
    """Where the caption stands in the sample's json, such as ``captions.0``."""
    dim: int
    """Numbers per vector."""
    dtype: StoredDtype = "float16"
    """How a number is stored; ``int8`` keeps one float32 scale per vector."""

    def __post_init__(self) -> None:
        for name, allowed in (("kind", get_args(Kind)), ("dtype", get_args(StoredDtype))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} of a field is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        for name in ("dim", "max_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} of a field is {value!r}; expected a whole number of at least 1")
        if not isinstance(self.normalize, bool):
            raise ConfigError(f"normalize of a field is {self.normalize!r}; expected true or false")
        for name in ("model", "revision", "template", "pooling", "caption_field"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} of a field is {getattr(self, name)!r}; expected text")

    def to_json(self) -> str:
        """The spec as a json object with sorted names; equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain json values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of :meth:`to_json`.

        Raises:
            ConfigError: the text is no json object of exactly the fields of a spec.
        """
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise ConfigError(f"a field spec must be a json object: {error}") from error

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Inverse of :meth:`to_dict`; raises ConfigError for unknown or absent names."""
        names = {field.name for field in dataclasses.fields(cls)}
        given = set(values) if isinstance(values, dict) else set()
        if given != names:
            wrong = ", ".join(sorted(given ^ names))
            raise ConfigError(f"a field spec holds exactly {', '.join(sorted(names))}; absent or unknown: {wrong}")
        return cls(**values)

    def differences(self, other: "FieldSpec") -> list[str]:
        """One clause per field that differs, such as ``pooling is 'mean', not 'cls'``: ours first."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return [f"{name} is {ours!r}, not {theirs!r}" for name, ours, theirs in pairs if ours != theirs]

    def require_same(self, other: "FieldSpec", name: str) -> None:
        """Refuse ``other`` for the field ``name``, which has this spec.

        Raises:
            SpecMismatchError: naming every difference.
        """
        if clauses := self.differences(other):
            remedy = "write these vectors to a field of another name"
            if UNKNOWN in (self.revision, other.revision):
                remedy = UNKNOWN_REMEDY
            elif self.dtype != other.dtype and len(clauses) == 1:
                remedy = f"store them as the field does (--dtype {self.dtype})"
            raise SpecMismatchError(
                f"field {name!r} exists with another spec: in the store {'; '.join(clauses)}; {remedy}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldInfo:
    """What a store says of a field without reading its vectors."""

    spec: FieldSpec
    num_vectors: int
    num_blocks: int
    num_bytes: int
    """Bytes of the vectors themselves, without keys, hashes and index."""

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.spec.dim

    @property
    def dtype(self) -> StoredDtype:
        """How a number is stored."""
        return self.spec.dtype
