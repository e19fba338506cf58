"""Published backbones in the formats of KerasHub: found, loaded, and rebuilt from a run without their files.

A preset is the name of a network of `keras.applications` (for images), the name of a KerasHub preset, `kaggle://...`,
`hf://...`, or a folder: one in KerasHub's own format, or a Hugging Face snapshot (`config.json`, `model.safetensors`,
tokenizer files). Only JSON, text, SentencePiece models, safetensors and Keras weight files are read, none of which can
run code.
"""

import hashlib
import json
import re
import socket
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import keras
import numpy as np
from pydantic import Field

from pipelines.applications import APPLICATIONS, load_imagenet_weights, make_application
from pipelines.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import keras_hub

PresetName = Annotated[
    str,
    Field(
        min_length=1,
        description="pretrained backbone: a KerasHub preset such as bert_tiny_en_uncased, kaggle://..., hf://..., or a"
        " folder in the format of KerasHub or Hugging Face; for images, also a network of keras.applications such as"
        " mobilenet_v2",
    ),
]
INSTALL = "pip install '.[pretrained]' in the clone"
HOSTS = {"kaggle": "www.kaggle.com", "hf": "huggingface.co"}
PROBE_SECONDS = 5  # without a network, the hubs' own libraries retry for minutes
HF_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.md", "LICENSE*", "*.weights.h5", "assets/**"]
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model.weights.h5", "model.weights.json")
PREFIX, ASSET = "preset", "preset.asset."  # names of arrays in a preprocessor's state
TOKENS = ("token_embedding/embeddings", "token_embedding/reverse_embeddings")  # variables with a vector per token
T5_LORA = ("query_projector", "value_projector")  # what KerasHub's default names for low-rank updates lack
IMAGES = "image backbone"
ENCODERS = "Bert DistilBert Roberta XLMRoberta DebertaV3 Albert Electra".split()  # FNet and RoFormerV2 read the padding
KINDS = {  # what each family of backbones can be used for
    "text encoder": ENCODERS,
    "causal language model": (  # not GPTNeoX: KerasHub rotates its queries wrongly where it uses a cache
        "GPT2 OPT Bloom Falcon Gemma Gemma3 Llama Llama3 Mistral Phi3 Qwen Qwen2 Qwen3 SmolLM SmolLM3".split()
    ),
    "encoder-decoder or encoder model": ["Bart", "T5", *ENCODERS],
    IMAGES: (
        "EfficientNet ResNet MobileNet MobileNetV5 DenseNet CSPNet HGNetV2 ViT DeiT DINOV2 DINOV3 MiT SwinTransformer"
        " VGG Xception SigLIP"
    ).split(),
}
VISION = {"SigLIP": "SigLIPVisionEncoder"}  # families of images and texts -> class of the part that reads images


@dataclass(frozen=True)
class Preset:
    """A published backbone: its architecture and tokenizer, without its weights."""

    name: str  # as the config names it
    record: dict[str, Any]  # where it comes from, its revision, licence and fingerprint
    family: str  # name of the backbone's class, without `Backbone`, or of a network of `keras.applications`
    config: dict[str, Any]  # arguments of the backbone's class
    tokenizer_class: str | None
    tokenizer_config: dict[str, Any]
    image_config: dict[str, Any]  # arguments of KerasHub's ImageConverter
    assets: dict[str, bytes]  # files of the tokenizer
    chat: dict[str, str] = field(default_factory=dict)  # chat template and the tokens that it names; {}: none

    def state(self) -> dict[str, np.ndarray]:
        """Return everything as arrays, for the state of a preprocessor."""
        about = {key: value for key, value in vars(self).items() if key in ABOUT}
        text = json.dumps(about, sort_keys=True).encode()
        files = {ASSET + name: np.frombuffer(content, np.uint8) for name, content in self.assets.items()}
        return {PREFIX: np.frombuffer(text, np.uint8), **files}

    @classmethod
    def restore(cls, state: Mapping[str, np.ndarray]) -> "Preset":
        """Return the preset of a preprocessor's state."""
        files = {name.removeprefix(ASSET): array.tobytes() for name, array in state.items() if name.startswith(ASSET)}
        return cls(**json.loads(state[PREFIX].tobytes()), assets=files)

    def with_config(self, changes: Mapping[str, Any]) -> "Preset":
        """Return this preset with other arguments of the backbone's class."""
        return replace(self, config={**self.config, **changes})

    def make_backbone(self) -> keras.Model:
        """Return the backbone with random weights."""
        if self.family in APPLICATIONS:
            return make_application(self.family, tuple(self.config["input_shape"]))
        _ignore_t5_masks()
        return _hub_class(VISION.get(self.family, f"{self.family}Backbone")).from_config(self.config)

    def make_causal_lm(self) -> "keras_hub.models.CausalLM":
        """Return the causal language model with random weights, without its preprocessor."""
        return _hub_class(f"{self.family}CausalLM")(backbone=self.make_backbone(), preprocessor=None)

    def make_seq_2_seq_lm(self) -> "keras_hub.models.Seq2SeqLM":
        """Return the encoder-decoder language model with random weights, without its preprocessor."""
        return _hub_class(f"{self.family}Seq2SeqLM")(backbone=self.make_backbone(), preprocessor=None)

    def load_weights(
        self, backbone: keras.Model, where: str, lora_rank: int | None = None, token_ids: np.ndarray | None = None
    ) -> None:
        """Load the published weights into a backbone of this preset, before training.

        With `lora_rank`, add low-rank updates of its attention layers, which are trained in place of its weights (Hu et
        al. 2022). Keras merges them into the weights that a run saves, so that a model of a run has none.

        With `token_ids`, token i of the backbone is the published token `token_ids[i]`.

        Raises:
            UserError: If they are not available; the message names the setting `where`.
        """
        if self.family in APPLICATIONS:
            load_imagenet_weights(self.family, backbone)
            return
        keras_hub = _keras_hub(where)
        folder = _local_folder(self.name, where)
        try:
            published = keras_hub.models.Backbone.from_preset(str(folder))
        except (ValueError, OSError, KeyError) as error:
            raise UserError(where, f"cannot load the weights in {folder}: {_first_line(error)}") from None
        for variable, source in zip(backbone.weights, _part(published, self.family).weights, strict=True):
            value = source.numpy()
            if token_ids is not None and variable.path.endswith(TOKENS):
                value = value.take(token_ids, axis=1 if variable.path.endswith(TOKENS[1]) else 0)
            variable.assign(value)
        if lora_rank is not None:
            backbone.enable_lora(lora_rank, [*backbone.default_lora_layer_names(), *T5_LORA])

    @cached_property
    def tokenizer(self) -> "keras_hub.tokenizers.Tokenizer":
        """The tokenizer, a Keras layer that also works in a TensorFlow graph."""
        if self.tokenizer_class is None:
            raise UserError(self.name, "this preset has no tokenizer")
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.assets.items():
                (Path(folder) / name).write_bytes(content)
            tokenizer = _hub_class(self.tokenizer_class).from_config(self.tokenizer_config)
            tokenizer.load_assets(folder)
        return tokenizer

    @property
    def unknown_id(self) -> int:
        """The id of the tokenizer's unknown piece, or if it has none, that of its mask."""
        tokenizer: Any = self.tokenizer
        if hasattr(tokenizer, "unk_token_id"):
            return tokenizer.unk_token_id
        pieces = tokenizer.get_vocabulary()
        names = (getattr(tokenizer, "oov_token", None), *(each for each in ("<unk>", "[UNK]") if each in pieces))
        unknown = next(filter(None, names), None)
        return tokenizer.token_to_id(unknown) if unknown else tokenizer.mask_token_id


def sequence_model(backbone: keras.Model) -> keras.Model:
    """Return a text encoder with one vector per token as its output, without an unused pooler."""
    output = backbone.output["sequence_output"] if isinstance(backbone.output, dict) else backbone.output
    return keras.Model(backbone.input, output, name="backbone")


def preset_of(state: Mapping[str, np.ndarray]) -> Preset | None:
    """Return the preset of a preprocessor's state, or None if it has none."""
    return Preset.restore(state) if PREFIX in state else None


ABOUT = [name for name in Preset.__annotations__ if name != "assets"]


def open_preset(name: str, kind: str, where: str) -> Preset:
    """Find a published backbone and read everything but its weights.

    Args:
        name: The preset, as a config names it.
        kind: What the backbone is needed for, a key of `KINDS`.
        where: The setting that names it, for messages.

    Raises:
        UserError: If it is unknown, not available, damaged, or of another kind, or KerasHub is not installed.
    """
    if kind == IMAGES and name in APPLICATIONS:
        return _application(name)
    keras_hub = _keras_hub(where)
    _ignore_t5_masks()
    folder = _local_folder(name, where)
    try:
        backbone = keras_hub.models.Backbone.from_preset(str(folder), load_weights=False)
        family = type(backbone).__name__.removesuffix("Backbone")
        if family not in KINDS[kind]:
            raise UserError(where, f"'{name}' is a {family} model, but this takes {kind}s: {', '.join(KINDS[kind])}")
        tokenizer = None if kind == IMAGES else keras_hub.tokenizers.Tokenizer.from_preset(str(folder))
        images = _image_config(folder) if kind == IMAGES else {}
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(where, f"cannot read the preset in {folder}: {_first_line(error)}") from None
    return Preset(
        name=name,
        record=_record(name, folder),
        family=family,
        config=_plain(_part(backbone, family).get_config()),
        tokenizer_class=type(tokenizer).__name__ if tokenizer else None,
        tokenizer_config=_tokenizer_config(tokenizer, folder) if tokenizer else {},
        image_config=images,
        assets=_assets(tokenizer) if tokenizer else {},
        chat=_chat(tokenizer, folder) if tokenizer else {},
    )


def _application(name: str) -> Preset:
    record = {"preset": name, "revision": None, "licence": None, "sha256": None}
    given = APPLICATIONS[name]
    scaling = {"scale": given.scale, "offset": given.offset}
    return Preset(name, record, name, {"input_shape": [None, None, 3]}, None, {}, scaling, {})


def _keras_hub(where: str) -> Any:
    try:
        return import_module("keras_hub")
    except ModuleNotFoundError as error:
        raise UserError(where, f"'{error.name}' is not installed; install it with: {INSTALL}") from None


def _ignore_t5_masks() -> None:
    """Let Keras not warn that T5's attention takes an argument named `mask`, which it uses in a way of its own."""
    warnings.filterwarnings("ignore", message=".*T5MultiHeadAttention.* was passed an input with a mask")


def _hub_class(name: str) -> Any:
    """Return a class of KerasHub by its name; names come from files, so nothing else can be reached."""
    if not re.fullmatch(r"[A-Za-z0-9]+(Backbone|VisionEncoder|Tokenizer|CausalLM|Seq2SeqLM)", name):
        raise UserError(name, "is not a class of KerasHub")
    return getattr(_keras_hub("preset").models, name)


def _part(backbone: Any, family: str) -> keras.Model:
    """Return the part of a backbone that is used: all of it, or what reads images."""
    return backbone.vision_encoder if family in VISION else backbone


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Keras config that JSON can hold, without the data type, which is that of the process."""
    return json.loads(json.dumps({key: value for key, value in config.items() if key not in ("dtype", "name")}))


def _tokenizer_config(tokenizer: Any, folder: Path) -> dict[str, Any]:
    """Return a tokenizer's config; BERT's lower-casing tokenizer also strips accents, which KerasHub does not read."""
    config, published = _plain(tokenizer.get_config()), folder / "tokenizer_config.json"
    if "strip_accents" in config and published.is_file():
        stated = json.loads(published.read_text(encoding="utf-8"))
        strips = stated.get("strip_accents")
        config["strip_accents"] = bool(stated.get("do_lower_case") if strips is None else strips)
    return config


def _chat(tokenizer: Any, folder: Path) -> dict[str, str]:
    """Return the chat template of a Hugging Face snapshot, with the tokens that begin and end a text there.

    The token at the beginning is empty if the model itself begins each text with it.
    """
    published, file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    stated = json.loads(published.read_text(encoding="utf-8")) if published.is_file() else {}
    template = file.read_text(encoding="utf-8") if file.is_file() else stated.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = next((each["template"] for each in template if each.get("name") == "default"), None)
    if not isinstance(template, str):
        return {}
    tokens = {name: stated.get(name) or "" for name in ("bos_token", "eos_token")}
    tokens = {name: each.get("content", "") if isinstance(each, dict) else each for name, each in tokens.items()}
    if getattr(tokenizer, "start_token_id", None) is not None:
        tokens["bos_token"] = ""
    return {"template": template, **tokens}


def _assets(tokenizer: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_assets(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _image_config(folder: Path) -> dict[str, Any]:
    """Return scale, offset and size of a preset's image converter; {} if it has none."""
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
    except (ValueError, OSError, KeyError):
        return {}
    return {
        key: value for key, value in _plain(converter.get_config()).items() if key in ("image_size", "scale", "offset")
    }


def _local_folder(name: str, where: str) -> Path:
    """Return the folder with a preset's files, which are downloaded once into the cache of the hub's library."""
    import keras_hub

    scheme, _, handle = name.partition("://")
    if Path(name).is_dir():
        return _checked(Path(name), where)
    if not handle:
        known = keras_hub.models.Backbone.presets
        if name not in known:
            close = did_you_mean(name, list(known)) if "/" not in name and "." not in name else ""
            close = close if "did you mean" in close else "; name a KerasHub preset, kaggle://..., hf://... or a folder"
            raise UserError(where, f"no such preset or folder: '{name}'{close}")
        scheme, handle = known[name]["kaggle_handle"].split("://")
    if scheme not in HOSTS:
        raise UserError(where, f"'{name}': unknown scheme; use kaggle://, hf:// or a folder")
    return _downloaded(scheme, handle, name, where)


def _checked(folder: Path, where: str) -> Path:
    if not (folder / "config.json").is_file() or not any((folder / each).is_file() for each in WEIGHTS):
        problem = f"{folder} is not a preset: it needs config.json and one of {', '.join(WEIGHTS)}"
        raise UserError(where, problem)
    return folder


def _downloaded(scheme: str, handle: str, name: str, where: str) -> Path:
    online = _reachable(HOSTS[scheme])
    try:
        if scheme == "hf":
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(handle, allow_patterns=HF_FILES, local_files_only=not online))
        import kagglehub

        if online:
            return Path(kagglehub.model_download(handle))
        cached = sorted((Path.home() / ".cache/kagglehub/models" / handle).glob("*/config.json"))
        if cached:
            return cached[-1].parent
    except Exception as error:  # the hubs' libraries raise errors of their own kinds
        if online:
            raise UserError(where, f"cannot download '{name}': {_first_line(error)}") from None
    page = f"https://www.kaggle.com/models/{handle}" if scheme == "kaggle" else f"https://huggingface.co/{handle}"
    raise UserError(
        where,
        f"{HOSTS[scheme]} cannot be reached and '{name}' is not in the cache; download the files of {page} on another"
        " machine and set preset to their folder",
    )


def _reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def _record(name: str, folder: Path) -> dict[str, Any]:
    """Return where a preset comes from: its files' fingerprint, its revision and licence, if they are stated."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and (
            path.name in WEIGHTS or path.suffix in (".safetensors", ".h5") or path.name == "config.json"
        ):
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    revision = folder.resolve().name if "://" in name or not Path(name).is_dir() else None
    return {"preset": name, "revision": revision, "licence": _licence(folder), "sha256": digest.hexdigest()}


def _licence(folder: Path) -> str | None:
    """Return the licence that a model card or a licence file states."""
    card = folder / "README.md"
    if card.is_file():
        stated = re.search(r"^license:\s*(\S+)", card.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if stated:
            return stated[1]
    for path in sorted(folder.glob("LICENSE*")):
        return path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[0].strip() or None
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
