"""Bodies of requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("expected text")
    return value


# Pydantic's own str refuses half surrogate pairs; they are taken here as everywhere else.
Text = Annotated[Any, AfterValidator(_text), WithJsonSchema({"type": "string"})]


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, int | list) for item in values):
        raise ValueError("token ids are not taken, since they depend on the client's tokenizer; send the texts")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a text, or a list of texts")
    return value


_TEXT = {"type": "string"}
Texts = Annotated[Any, AfterValidator(_texts), WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]})]


class EmbeddingsRequest(BaseModel):
    """OpenAI's request; ``user`` and other extras are ignored."""

    input: Texts = Field(description="A text, or texts; token ids are not taken.")
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="Only the model's own number.")


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="Numbers, or the base64 of little-endian float32.")


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class KeyedCaption(BaseModel, extra="forbid"):
    key: Text = Field(description="Sample key.")
    caption: Text | None = Field(description="Null and blank captions are counted as empty and get no vector.")


class CaptionsRequest(BaseModel, extra="forbid"):
    captions: list[KeyedCaption]


class CaptionsAnswer(BaseModel):
    """What was done; ``embedded`` vectors are new and committed."""

    field: str
    embedded: int
    reused: int
    deduplicated: int
    empty: int
    truncated: int


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    model: str
    revision: str
    dim: int
    device: str
    store: str | None
    pending_tokens: int


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """OpenAI's form of an error."""

    error: ErrorBody
