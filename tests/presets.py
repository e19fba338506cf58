"""Tiny backbones of random weights, saved as presets, so that no test needs a network.

Keras draws the seeds of initializers from `random`. Seeding TensorFlow would destroy a test's SentencePiece models.
"""

import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
import sentencepiece
from keras_hub.src.tokenizers.byte_pair_tokenizer import bytes_to_unicode

FINE_TUNING = {  # settings of a `pretrained` model, besides its preset
    "freeze": False,
    "unfreeze_after_epochs": 0,
    "backbone_learning_rate": None,
    "layer_decay": 1.0,
    "lora_rank": None,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_bert(
    folder: Path, words: Sequence[str] = "The quick brown fox".lower().split(), width: int = 16, length: int = 64
) -> Path:
    """Write a BERT of two layers, whose vocabulary is some words and the pieces of every other."""
    letters = sorted({letter for word in words for letter in word})
    pieces = [*SPECIAL, *dict.fromkeys([*words, *letters]), *(f"##{letter}" for letter in letters)]
    random.seed(1)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(pieces),
        num_layers=2,
        num_heads=2,
        hidden_dim=width,
        intermediate_dim=2 * width,
        max_sequence_length=length,
    )
    backbone.save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True).save_to_preset(str(folder))
    return folder


# The arguments of tiny causal language models, without vocabulary_size.
PLAIN = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}
GROUPED = {"num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 16, "intermediate_dim": 24}
CAUSAL = {
    "GPT2": {**PLAIN, "max_sequence_length": 128},
    "OPT": {**PLAIN, "max_sequence_length": 128},
    "Bloom": PLAIN,
    "Falcon": {"num_layers": 2, "num_attention_heads": 2, "hidden_dim": 16, "intermediate_dim": 24},
    "Llama3": GROUPED,
    "Qwen": GROUPED,
    "Qwen3": {**GROUPED, "head_dim": 4},
    "SmolLM3": {
        "num_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 24,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_layer_enabled_list": [True, True],
        "layer_types": ["full_attention", "full_attention"],
        "mlp_bias": False,
        "layer_norm_epsilon": 1e-6,
        "max_position_embeddings": 64,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
    },
    "Llama": GROUPED,
    "Mistral": {**GROUPED, "sliding_window": 64},
    "Phi3": GROUPED,
    "Gemma": {**GROUPED, "head_dim": 4},
    "Gemma3": {**GROUPED, "head_dim": 4, "image_size": None, "vision_encoder": None},
}
PIECES = ("Llama", "Mistral", "Phi3", "Gemma", "Gemma3")  # families with a SentencePiece tokenizer
TEXTS = ("the cat sat on the mat", "the dog ran\n", "déjà vu")


def write_causal(folder: Path, family: str = "GPT2", texts: Sequence[str] = TEXTS) -> Path:
    """Write a causal language model of two layers, whose tokenizer is learnt from a few texts."""
    make = _make_pieces if family in PIECES else _make_pairs
    tokenizer = make(getattr(keras_hub.models, f"{family}Tokenizer"), texts)
    random.seed(1)
    backbone = getattr(keras_hub.models, f"{family}Backbone")
    backbone = backbone(vocabulary_size=tokenizer.vocabulary_size(), **CAUSAL[family])
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def write_encoder_decoder(folder: Path, family: str = "T5", texts: Sequence[str] = TEXTS, **settings: Any) -> Path:
    """Write a T5 or BART of two layers, whose tokenizer is learnt from a few texts."""
    own = {"T5": {"key_value_dim": 6, "dropout": 0.0}, "Bart": {"max_sequence_length": 64, "dropout": 0.0}}[family]
    make = {"T5": _make_t5_pieces, "Bart": _make_pairs}[family]
    tokenizer = make(getattr(keras_hub.models, f"{family}Tokenizer"), texts)
    random.seed(1)
    backbone = getattr(keras_hub.models, f"{family}Backbone")
    backbone = backbone(
        vocabulary_size=tokenizer.vocabulary_size() + 3 * (family == "T5"), **{**PLAIN, **own, **settings}
    )
    noise = np.random.default_rng(1)
    for variable in backbone.weights:  # so that no bias is 0
        variable.assign(variable + noise.normal(scale=0.2, size=variable.shape).astype("float32"))
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def write_efficientnet(folder: Path) -> Path:
    """Write an EfficientNet of three blocks with dropout, whose images are scaled to -1 to 1."""
    random.seed(1)
    backbone = keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_kernel_sizes=[3, 3, 5],
        stackwise_num_repeats=[1, 1, 2],
        stackwise_input_filters=[8, 8, 8],
        stackwise_output_filters=[8, 8, 16],
        stackwise_expansion_ratios=[1, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0.0] * 3,
        stackwise_strides=[1, 2, 2],
        stackwise_block_types=["v1", "unfused", "unfused"],
        dropout=0.5,
    )
    return _with_scaling(folder, backbone, "EfficientNet", scale=1 / 127.5, offset=-1.0)


def write_resnet(folder: Path) -> Path:
    """Write a ResNet of two stages, whose channels are scaled each in its own way."""
    random.seed(1)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    return _with_scaling(folder, backbone, "ResNet", scale=[0.01, 0.02, 0.03], offset=[-1.0, -2.0, -3.0])


def write_vit(folder: Path, image_size: int = 16) -> Path:
    """Write a ViT of two blocks, without image scaling."""
    random.seed(1)
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(image_size, image_size, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16
    )
    backbone.save_to_preset(str(folder))
    return folder


def write_siglip(folder: Path) -> Path:
    """Write a SigLIP of two blocks for images and one for texts, whose images are scaled to -1 to 1."""
    random.seed(1)
    sizes = {"num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    vision = keras_hub.models.SigLIPVisionEncoder(patch_size=8, num_layers=2, image_shape=(16, 16, 3), **sizes)
    text = keras_hub.models.SigLIPTextEncoder(vocabulary_size=20, embedding_dim=8, num_layers=1, **sizes)
    backbone = keras_hub.models.SigLIPBackbone(vision_encoder=vision, text_encoder=text)
    return _with_scaling(folder, backbone, "SigLIP", scale=1 / 127.5, offset=-1.0)


def _with_scaling(folder: Path, backbone: keras_hub.models.Backbone, family: str, **scaling: float | list) -> Path:
    backbone.save_to_preset(str(folder))
    getattr(keras_hub.layers, f"{family}ImageConverter")(image_size=(16, 16), **scaling).save_to_preset(str(folder))
    return folder


def write_encoder(folder: Path, family: str, words: Sequence[str], length: int = 64) -> Path:
    """Write a text encoder of two layers of a family such as `Roberta`, with a tokenizer of the kind that it uses."""
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    own = {"Albert": {"embedding_dim": 8}, "Electra": {"embedding_dim": 8}, "DebertaV3": {"bucket_size": 8}}
    sizes |= {"max_sequence_length": length, **own.get(family, {})}
    tokenizer = _tokenizer(family, words)
    count = {"vocab_size" if family == "Electra" else "vocabulary_size": tokenizer.vocabulary_size()}
    random.seed(1)
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**count, **sizes)
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return folder


def _make_pairs(tokenizer: type, texts: Sequence[str]) -> keras_hub.tokenizers.Tokenizer:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    special = "<|endoftext|> <s> </s> <pad> <|begin_of_text|> <|end_of_text|> <|eot_id|> <|start_header_id|>".split()
    special += "<|end_header_id|> <|im_end|> <think> </think>".split()
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    learnt.train_from_iterator(texts, trainer)
    merges = [" ".join(pair) for pair in json.loads(learnt.to_str())["model"]["merges"]]
    return tokenizer(vocabulary=learnt.get_vocab(), merges=merges)


def _make_pieces(tokenizer: type, texts: Sequence[str]) -> keras_hub.tokenizers.Tokenizer:
    import sentencepiece

    model = io.BytesIO()
    names = {"Gemma": ("<bos>", "<eos>"), "Phi3": ("<s>", "<|endoftext|>")}
    start, end = next((own for family, own in names.items() if family in tokenizer.__name__), ("<s>", "</s>"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=320,
        hard_vocab_limit=False,
        model_type="bpe",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        bos_piece=start,
        eos_piece=end,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    settings = {"has_vision_tokens": False} if "Gemma3" in tokenizer.__name__ else {}
    return tokenizer(proto=model.getvalue(), **settings)


def _make_t5_pieces(tokenizer: type, texts: Sequence[str]) -> keras_hub.tokenizers.Tokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=120,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        minloglevel=2,
    )
    return tokenizer(proto=model.getvalue())


def _tokenizer(family: str, words: Sequence[str]) -> keras_hub.tokenizers.Tokenizer:
    kind = getattr(keras_hub.models, f"{family}Tokenizer")
    if family == "Roberta":
        return kind(**byte_pairs(words, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))
    if family in ("Albert", "XLMRoberta", "DebertaV3"):
        return kind(proto=sentence_pieces(words, family))
    letters = sorted({letter for word in words for letter in word.lower()})
    lower = [word.lower() for word in words]
    pieces = [*SPECIAL, *dict.fromkeys([*lower, *letters]), *(f"##{letter}" for letter in letters)]
    return kind(vocabulary=pieces, lowercase=True)


def byte_pairs(words: Sequence[str], special: Sequence[str]) -> dict[str, Any]:
    """Return vocabulary and merges of a byte-level tokenizer: every byte, and each word after a space as one piece."""
    _, bytes_as_letters = bytes_to_unicode()
    vocabulary, merges = [*special, *bytes_as_letters], []
    for word in words:
        joined = "\u0120"  # how the space is written
        for letter in word:
            merges.append(f"{joined} {letter}")
            joined += letter
            vocabulary.append(joined)
    vocabulary = list(dict.fromkeys(vocabulary))
    return {"vocabulary": {piece: at for at, piece in enumerate(vocabulary)}, "merges": list(dict.fromkeys(merges))}


def sentence_pieces(words: Sequence[str], family: str) -> bytes:
    """Train a small SentencePiece model whose special pieces are those of a family."""
    special = {
        "Albert": {"pad_id": 0, "pad_piece": "<pad>", "unk_id": 1, "bos_id": 2, "eos_id": 3},
        "DebertaV3": {"pad_id": 0, "pad_piece": "[PAD]", "bos_id": 1, "eos_id": 2, "unk_id": 3},
        "XLMRoberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
    }[family]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 20),
        model_writer=model,
        vocab_size=4 + len({letter for word in words for letter in word}) + 12,
        hard_vocab_limit=False,
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        user_defined_symbols=["[MASK]"],
        minloglevel=2,
        **special,
    )
    return model.getvalue()


TINY: dict[str, Callable[[Path], Path]] = {  # a family of each kind of `presets.KINDS`
    "text encoder": write_bert,
    "causal language model": write_causal,
    "encoder-decoder or encoder model": write_encoder_decoder,
    "image backbone": write_efficientnet,
}
