"""A validated config, and how a document is validated. Needs no TensorFlow."""

import pydantic
from ruamel.yaml.comments import CommentedMap

from pipelines.config.defaults import fill_missing
from pipelines.config.faults import Places, faults_in_words
from pipelines.config.read import plain, shipped_defaults, written
from pipelines.errors import UserError


class Config:
    """A validated config: each section is an attribute, and `document` is the YAML with its comments."""

    def __init__(self, document: CommentedMap, checked: pydantic.BaseModel):
        self.document = document
        self.values = checked.model_dump(exclude_unset=True)
        self.whole = checked.model_dump()  # including defaults of omitted settings, to compare two configs
        self.task: str = self.values["task"]
        self.seed: int = self.values["seed"]
        self.data: dict = self.values["data"]
        self.split: dict = self.values["split"]
        self.preprocessing: dict = self.values["preprocessing"]
        self.batches: dict = self.values["batches"]
        self.model: str = self.values["model"]
        self.models: dict = self.values["models"]
        self.start: str | None = self.values.get("start")
        self.distill: dict | None = self.values.get("distill")
        self.loss: dict = self.values["loss"]
        self.optimizer: dict = self.values["optimizer"]
        self.schedule: dict = self.values["schedule"]
        self.training: dict = self.values["training"]
        self.confidence: dict | None = self.values.get("confidence")
        self.tracking: dict | None = self.values.get("tracking")
        self.decoding: dict | None = self.values.get("decoding")
        self.tuning: dict | None = self.values.get("tuning")

    def to_yaml(self) -> str:
        """Return the resolved config as YAML, with its comments."""
        return written(self.document)


def validate(document: CommentedMap, kind: type[pydantic.BaseModel], places: Places, task: str) -> Config:
    """Validate a document without `tune` nodes. Missing required settings are copied from the task's shipped config.

    Raises:
        UserError: If the document is invalid; the message has the file, line and dotted path of every error.
    """
    while True:
        try:
            checked = kind.model_validate(plain(document))
            break
        except pydantic.ValidationError as error:
            if not fill_missing(document, error, shipped_defaults(task)):
                raise UserError("", *faults_in_words(error, kind, places)) from None
    values = checked.model_dump()
    if values["models"][values["model"]] is None:
        problem = f"'{values['model']}' has no settings; add the section models.{values['model']}"
        raise UserError(places.of(["model"]), problem)
    return Config(document, checked)


def differences(one: dict, other: dict, prefix: str = "") -> list[str]:
    """Return the dotted paths, each after `prefix`, of the settings that differ between two sections."""
    found = []
    for key in dict.fromkeys([*one, *other]):
        if isinstance(one.get(key), dict) and isinstance(other.get(key), dict):
            found += differences(one[key], other[key], f"{prefix}{key}.")
        elif one.get(key) != other.get(key):
            found.append(f"{prefix}{key}")
    return found


def own_models(document: CommentedMap) -> tuple[str, ...]:
    """Return the names of custom models in a config: those with a dot."""
    named = [document.get("model"), *(document.get("models") or {})]
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and "." in name))
