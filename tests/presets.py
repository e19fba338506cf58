"""Tiny backbones of random weights, saved as presets, so that no test needs a network."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import keras_hub

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_bert(
    folder: Path, words: Sequence[str] = "The quick brown fox".lower().split(), width: int = 16, length: int = 64
) -> Path:
    """Write a BERT of two layers, whose vocabulary is some words and the pieces of every other."""
    letters = sorted({letter for word in words for letter in word})
    pieces = [*SPECIAL, *dict.fromkeys([*words, *letters]), *(f"##{letter}" for letter in letters)]
    keras.utils.set_random_seed(1)
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
    "GPT2": {**PLAIN, "max_sequence_length": 64},
    "OPT": {**PLAIN, "max_sequence_length": 64},
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
    keras.utils.set_random_seed(1)
    backbone = getattr(keras_hub.models, f"{family}Backbone")
    backbone = backbone(vocabulary_size=tokenizer.vocabulary_size(), **CAUSAL[family])
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


TINY: dict[str, Callable[[Path], Path]] = {
    "text encoder": write_bert,
    "causal language model": write_causal,
}  # a family of each kind of `presets.KINDS`
