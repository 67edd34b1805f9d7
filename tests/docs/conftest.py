"""Small models in the place of those that the documents name."""

import pytest

from tests.embedder.small_models import save_clip, save_llm


@pytest.fixture(scope="package")
def substitutes(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    save_llm(folder / "llm")
    save_clip(folder / "clip")
    return {
        "microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned": str(folder / "llm"),
        "openai/clip-vit-large-patch14": str(folder / "clip"),
    }
