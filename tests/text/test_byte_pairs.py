"""Byte-pair encoding in the graph splits texts exactly as the published tokenizers do."""

import json
import random

import pytest
import tensorflow as tf
from tokenizers import Regex, Tokenizer, models, trainers
from tokenizers import pre_tokenizers as splitters

from pipelines.text.byte_pairs import BytePairs

SPECIAL = "<|endoftext|>"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SIGNS = "ab  \n\n\t\r\v'sT19½٣é漢（) .\u2003\xa0\x85"


def llama3(digits):
    split = splitters.Split(Regex(LLAMA3 % digits), "isolated")
    return splitters.Sequence([split, splitters.ByteLevel(add_prefix_space=False, use_regex=False)])


WORDS = {"GPT2": splitters.ByteLevel(add_prefix_space=False), "Llama3": llama3(3), "Qwen": llama3(1)}


@pytest.mark.parametrize("family", WORDS)
def test_texts_become_the_tokens_of_the_reference(family):
    draws = random.Random(0)
    texts = ["".join(draws.choice([*SIGNS, SPECIAL]) for _ in range(60)) for _ in range(500)]
    texts += ["", " ", "\n", "It's  x", "  \n\n  foo\n\t bar  ", f"a {SPECIAL} b"]
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = WORDS[family]
    alphabet = splitters.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[SPECIAL], initial_alphabet=alphabet, show_progress=False
    )
    reference.train_from_iterator(texts, trainer)
    merges = [" ".join(pair) for pair in json.loads(reference.to_str())["model"]["merges"]]
    assert len(merges) > 50
    names = sorted(reference.get_vocab(), key=reference.token_to_id)
    names = ["", "", "", SPECIAL, *(name for name in names if name != SPECIAL)]
    pairs = BytePairs(family, names, merges, [SPECIAL])
    encode = tf.function(pairs.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    found = [[names[number] for number in row] for row in encode(tf.constant(texts)).numpy()]
    assert found == [encoding.tokens for encoding in reference.encode_batch(texts)]
