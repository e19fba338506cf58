"""Published text encoders read texts as the tokenizers that they were published with."""

import numpy as np
import pytest
import tensorflow as tf
from presets import write_encoder

from pipelines.presets import KINDS, open_preset
from pipelines.text.published import text_encoder

KIND = "text encoder"
WORDS = ["Ann", "lives", "in", "Oslo", "Rome"]
TEXTS = ["Ann lives in Rome", " Ann", "", " ", "na\u00efve  \u2603\n Oslo's 42nd <mask>", "Rome\u00a0Oslo", "</s> Rome"]


@pytest.mark.parametrize("family", KINDS[KIND])
def test_texts_become_the_published_ids(family, tmp_path):
    preset = open_preset(str(write_encoder(tmp_path / family, family, WORDS)), KIND, "models.pretrained.preset")
    encode, _ = text_encoder(preset)
    found = tf.function(encode, input_signature=[tf.TensorSpec([None], tf.string)])(tf.constant(TEXTS))
    assert found.row_splits.dtype == tf.int64 and found.dtype == tf.int32
    for text, ids in zip(TEXTS, found.to_list(), strict=True):
        expected = np.ravel(preset.tokenizer(text))  # another library than that of the graph
        np.testing.assert_array_equal(ids, np.where(expected < 0, preset.unknown_id, expected), err_msg=repr(text))
