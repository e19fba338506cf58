"""Small exports whose answers are plain to see."""

import shutil
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


def write_version(folder: Path, number: int, **signatures) -> Path:
    """Write functions as a version that appears whole."""
    module = tf.Module()
    module.functions = list(signatures.values())
    names = {name.replace("serve", "serving_default"): function for name, function in signatures.items()}
    made = folder.parent / f".{folder.name}.{number}"
    tf.saved_model.save(module, str(made), {n: f.get_concrete_function() for n, f in names.items()})
    folder.mkdir(parents=True, exist_ok=True)
    return made.rename(folder / str(number))


def write_adder(folder: Path, number: int, plus: float = 1.0) -> Path:
    """A model that adds `plus` to `x` (B,) and says which version it is."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(x):
        return {"y": x + plus, "version": tf.fill(tf.shape(x), number)}

    return write_version(folder, number, serve=serve)


def write_slow(folder: Path, seconds: float = 0.3) -> Path:
    """A model that takes its time over `x` (B,)."""

    # Python in a graph does not survive an export, so the time goes by in arithmetic.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(x):
        size = 400
        matrix = tf.ones([size, size]) / size
        turns = tf.constant(int(seconds * 300))
        _, worn = tf.while_loop(lambda i, m: i < turns, lambda i, m: (i + 1, m @ matrix), (0, matrix))
        return {"y": x + 0 * worn[0, 0]}

    return write_version(folder, 1, serve=serve)


def write_words(folder: Path) -> Path:
    """A model that answers each text's words, how long they are (B, W), and the text's length (B,)."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(text):
        words = tf.strings.split(text)
        lengths = tf.ragged.map_flat_values(tf.strings.length, words)
        return {"words": words.to_tensor(), "lengths": lengths.to_tensor(), "length": tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "numbers")])
    def longest(numbers):
        return {"sum": tf.reduce_sum(numbers, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "numbers")])
    def echo(numbers):
        return {"numbers": numbers + 0}

    return write_version(folder, 1, serve=serve, sums=longest, echo=echo)


def write_pictures(folder: Path) -> Path:
    """A model that answers the mean of each encoded image."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def serve(image):
        def mean(content):
            return tf.reduce_mean(tf.cast(tf.io.decode_image(content, expand_animations=False), tf.float32))

        return {"mean": tf.map_fn(mean, image, fn_output_signature=tf.float32)}

    return write_version(folder, 1, serve=serve)


def write_speller(folder: Path) -> Path:
    """A stream that spells a prompt, letter by letter."""
    one = [tf.TensorSpec([None], tf.string, "prompt")]

    def piece(rest):
        return {"text": tf.strings.substr(rest, 0, 1), "rest": tf.strings.substr(rest, 1, 1000)}

    @tf.function(input_signature=one)
    def serve(prompt):
        return {"text": prompt + prompt}

    @tf.function(input_signature=one)
    def start(prompt):
        return piece(prompt) | {"finished": tf.strings.length(prompt) <= 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "rest")])
    def step(rest):
        return piece(rest) | {"finished": tf.strings.length(rest) <= 1}

    return write_version(folder, 1, serve=serve, stream_start=start, stream_step=step)


def write_judge(folder: Path) -> Path:
    """A classifier and a regressor of tf.Examples with the feature `x`."""
    examples = [tf.TensorSpec([None], tf.string, "examples")]

    def x_of(examples):
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]

    @tf.function(input_signature=examples)
    def classify(examples):
        x = x_of(examples)
        names = tf.tile([["low", "high"]], [tf.size(x), 1])
        return {"classes": names, "scores": tf.stack([1 - x, x], axis=1)}

    @tf.function(input_signature=examples)
    def regress(examples):
        return {"outputs": 2 * x_of(examples)}

    version = write_version(folder, 1, serve=classify, twice=regress)
    path = version / "saved_model.pb"  # a SavedModel of TensorFlow 2 calls each method predict
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    definitions["serving_default"].method_name = "tensorflow/serving/classify"
    definitions["twice"].method_name = "tensorflow/serving/regress"
    path.write_bytes(saved.SerializeToString())
    return version


def break_version(version: Path, number: int) -> Path:
    """Copy a version and damage the copy."""
    broken = version.parent / str(number)
    shutil.copytree(version, version.parent / f".{number}")
    (version.parent / f".{number}" / "saved_model.pb").write_bytes(b"garbage")
    return (version.parent / f".{number}").rename(broken)
