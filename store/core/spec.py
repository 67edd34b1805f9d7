"""Provenance of a field: written once when the field is made, and compared by every later writer."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from store.common.errors import ConfigError, SpecMismatchError

Kind = Literal["llm", "sentence", "clip-text"]
UNKNOWN = "unknown"
"""Revision and pooling that an import records when it is not given how the vectors were made."""
UNKNOWN_REMEDY = (
    f"{UNKNOWN!r} is what an import records that finds no files of its model: import again into a field of another "
    "name, with --model as the model's folder, or with --revision, --template, --pooling and --max-length as keyclip "
    "store info shows them"
)
StoredDtype = Literal["float32", "float16", "bfloat16", "int8"]
_CHOICES = {"kind": get_args(Kind), "dtype": get_args(StoredDtype)}


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldSpec:
    """How the vectors of a field were made. Two fields with equal specs hold interchangeable vectors."""

    model: str
    """Model id or folder name, such as ``microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned``."""
    revision: str
    """Revision or fingerprint of the weights; differs between two checkpoints of one name."""
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
    """Path of the caption in the sample's json, such as ``captions.0``."""
    dim: int
    """Numbers per vector."""
    dtype: StoredDtype = "float16"
    """How a number is stored; ``int8`` keeps one float32 scale per vector."""

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if name in _CHOICES:
                fits, expected = value in _CHOICES[name], f"one of {', '.join(_CHOICES[name])}"
            elif name in ("dim", "max_length"):
                fits, expected = type(value) is int and value >= 1, "a whole number of at least 1"
            elif name == "normalize":
                fits, expected = isinstance(value, bool), "true or false"
            else:
                fits, expected = isinstance(value, str), "text"
            if not fits:
                raise ConfigError(f"{name} of a field is {value!r}; expected {expected}")

    def to_json(self) -> str:
        """The spec as a json object with sorted names; equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain json values."""
        return dataclasses.asdict(self)

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
        """One clause per field that differs, such as ``pooling is 'mean', not 'cls'``: the own value first."""
        ours, theirs = self.to_dict(), other.to_dict()
        return [f"{name} is {ours[name]!r}, not {theirs[name]!r}" for name in ours if ours[name] != theirs[name]]

    def require_same(self, other: "FieldSpec", name: str) -> None:
        """Raises SpecMismatchError, naming every difference, unless ``other`` is the spec of the field ``name``."""
        if clauses := self.differences(other):
            remedy = "write these vectors to a field of another name"
            if UNKNOWN in (self.revision, other.revision):
                remedy = UNKNOWN_REMEDY
            elif self.dtype != other.dtype and len(clauses) == 1:
                remedy = f"store them as the field does (--dtype {self.dtype})"
            raise SpecMismatchError(
                f"field {name!r} exists with another spec: in the store {'; '.join(clauses)}; {remedy}"
            )
