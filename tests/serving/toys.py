"""Small exports whose answers are plain to see."""

import json
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


def write_endless(folder: Path, number: int = 1) -> Path:
    """A model that answers only what is not above 0 of `x` (B,) in time."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(x):
        def go_on(left, matrix):
            return left > 0

        def turn(left, matrix):
            return left - 1, matrix @ tf.ones([100, 100]) / 100

        _, worn = tf.while_loop(go_on, turn, (tf.reduce_sum(x) * 1e9, tf.ones([100, 100])))
        return {"y": x + 0 * worn[0, 0]}

    return write_version(folder, number, serve=serve)


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


WRITER = {"max_tokens": 6, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1, "stop": [""]}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<me>{% endif %}"
)


def write_writer(folder: Path, chat: bool = True) -> Path:
    """A stream that draws letters of "abcdefgh" by its seed, or writes only "a" at temperature 0."""
    floats, letters = ("temperature", "top_p"), tf.constant(list("abcdefgh"))
    asked = {
        name: tf.TensorSpec([1], tf.float32 if name in floats else tf.int32, name) for name in WRITER if name != "stop"
    }
    asked["stop"] = tf.TensorSpec([1, None], tf.string, "stop")
    kept = {**asked, **{name: tf.TensorSpec([1], tf.int32, name) for name in ("at", "read")}}

    def piece(kept):
        place = kept["at"][0]
        drawn = tf.random.stateless_uniform([], [kept["seed"][0], place], 0, 8, tf.int32)
        letter = letters[tf.where(kept["temperature"][0] > 0, drawn, 0)]
        ends = tf.reduce_any(kept["stop"][0] == letter)
        own = {"text": tf.where(ends, "", letter)[None], "finished": ends | (place + 1 >= kept["max_tokens"])}
        told = {"stopped": ends[None], "token": letter[None], "log_probability": tf.math.log([1 / 8])}
        likely = {"top_tokens": letters[None], "top_log_probabilities": tf.math.log(tf.fill([1, 8], 1 / 8))}
        return own | told | likely | {**kept, "at": kept["at"] + 1}

    @tf.function(input_signature=[{"prompt": tf.TensorSpec([1], tf.string, "prompt"), **asked}])
    def start(given):
        own = {name: given[name] for name in asked}
        possible = tf.debugging.Assert(given["max_tokens"][0] <= 900, ["max_tokens must be from 1 to 900"])
        with tf.control_dependencies([possible]):
            return piece({**own, "at": tf.constant([0]), "read": tf.strings.length(given["prompt"])})

    @tf.function(input_signature=[kept])
    def step(given):
        return piece(given)

    about = {"defaults": {"stream_start": WRITER}}
    if chat:
        about["chat"] = {"template": TEMPLATE, "bos_token": "", "eos_token": "h"}
    return write_about(write_version(folder, 1, stream_start=start, stream_step=step), about)


def write_mirror(folder: Path) -> Path:
    """A search that "translates" a source to its words, backwards."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "source"), tf.TensorSpec([None], tf.int32, "count")])
    def n_best(source, count):
        words = tf.strings.split(source)
        text = tf.strings.reduce_join(tf.reverse_sequence(words.to_tensor(), words.row_lengths(), 1), 1, separator=" ")
        shown = tf.range(tf.reduce_max(count)) < count[:, None]
        lengths = tf.cast(words.row_lengths(), tf.int32)
        return {
            "translations": tf.where(shown, tf.strings.strip(text)[:, None], ""),
            "scores": tf.where(shown, -1.0, 0.0),
            "tokens": tf.where(shown, lengths[:, None], 0),
            "source_tokens": lengths,
        }

    return write_about(write_version(folder, 1, n_best=n_best), {"defaults": {"n_best": {"count": 2}}})


def write_about(version: Path, about: dict) -> Path:
    """Write what an export tells of itself."""
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "about.json").write_text(json.dumps(about))
    return version


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
