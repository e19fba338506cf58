"""Pages of the documentation that are made from other files: configuration, notebooks, results, changelog ..."""

import json
import re
from pathlib import Path
from typing import Any

from click import Command, Group
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
TITLES = {
    "model": "Settings of a model, in `models`",
    "LogSettings": "Settings of `request_log`",
}  # of the sections of a server's config
LINKS = [  # what a link of the clone, which leads to a file outside docs, is on the site
    (r"\]\(((?:\.\./)*)\.\./benchmarks/results/", r"](\1results/"),
    (r"\]\(((?:\.\./)*)\.\./configs/schemas/(\w+)\.json", r"](\1reference/config/\2.md"),
    (r"\]\(((?:\.\./)*)\.\./README\.md#commands", r"](\1reference/cli.md"),
    (r"\]\(docs/", r"]("),
]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from pipelines.tasks import TASKS

    pages = {f"reference/config/{task}.md": config_page(task) for task in TASKS}
    pages["reference/config/serve.md"] = serve_page()
    pages["reference/cli.md"] = cli_page()
    for name in ("contributing", "changelog"):
        pages[f"{name}.md"] = (ROOT / f"{name.upper()}.md").read_text(encoding="utf-8")
    results = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    for path in results:
        pages[f"results/{path.name}"] = path.read_text(encoding="utf-8")
    pages["notebooks/index.md"] = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        files.append(File.generated(config, f"notebooks/{notebook.name}", abs_src_path=str(notebook)))
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links that work in the clone to those of the site."""
    for pattern, replacement in LINKS:
        markdown = re.sub(pattern, replacement, markdown)
    return markdown


def cli_page() -> str:
    """Write what `--help` says of each verb."""
    import sys

    from click.testing import CliRunner

    from pipelines.cli import main

    called, sys.argv[0] = sys.argv[0], "pipelines"  # as help and examples name the program
    lines = ["# Command line", ""]
    verbs = [(name, *more) for name, each in main.commands.items() for more in [(), *_subcommands(each)]]
    for verb in ((), *verbs):
        shown = CliRunner().invoke(main, [*verb, "--help"], prog_name="pipelines").output
        lines += [f"## pipelines {' '.join(verb)}".rstrip(), "", "```", shown.rstrip(), "```", ""]
    sys.argv[0] = called
    return "\n".join(lines)


def _subcommands(command: Command) -> list[tuple[str]]:
    return [(name,) for name in command.commands] if isinstance(command, Group) else []


def config_page(task: str) -> str:
    """Write a task's configuration as Markdown, from the JSON Schema of its config."""
    from pipelines.config.read import schema_path, shipped_config

    schema = json.loads(schema_path(task).read_text(encoding="utf-8"))
    definitions = schema["$defs"]
    about = "Settings that a config leaves out have the values of the config at the end of this page."
    tune = "Any value may be a `tune` node: see [Tune](../../how-to/tune.md)."
    lines = [f"# Configuration of {task}", "", about, tune, ""]
    for name, section in schema["properties"].items():
        lines += [f"## {name}", "", f"{section.get('description', '')}.", ""]
        variants = _variants(section, definitions)
        for title, kind in variants:
            if len(variants) > 1:
                key = next(key for key, leaf in kind["properties"].items() if "const" in leaf)
                lines += [f"### {name}, {key}: {kind['properties'][key]['const']}", ""]
            if title != name and kind.get("description"):
                lines += [kind["description"], ""]
            if name == "models" and title == name:
                for rung, leaf in kind["properties"].items():
                    ((_, model),) = _variants(leaf, definitions)
                    about = [model["description"], ""] if model.get("description") else []
                    lines += [f"### models, {rung}", "", *about, *_table(model, definitions)]
            elif kind.get("properties"):
                lines += _table(kind, definitions)
    lines += ["## The config that comes with the task", "", "```yaml", shipped_config(task).read_text().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def serve_page() -> str:
    """Write the configuration of a server as Markdown, from its JSON Schema."""
    from pipelines.config.read import schema_path, shipped_config

    schema = json.loads(schema_path("serve").read_text(encoding="utf-8"))
    example = shipped_config("server/serve").read_text(encoding="utf-8").rstrip()
    about = "`pipelines serve --config FILE` reads these settings: see [Operate a server](../../how-to/operate.md)."
    lines = ["# Configuration of a server", "", about, "", "## Settings", "", *_table(schema, schema["$defs"])]
    for name, kind in schema["$defs"].items():
        lines += [f"## {TITLES[name]}", "", *_table(kind, schema["$defs"])]
    lines += ["## Example", "", "`pipelines config serve` prints it.", "", "```yaml", example, "```"]
    return "\n".join(lines) + "\n"


def _variants(section: dict[str, Any], definitions: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List the objects that a section may be."""
    found = []
    for part in (section, *section.get("oneOf", ()), *section.get("anyOf", ())):
        if "$ref" in part:
            name = part["$ref"].rsplit("/", 1)[1]
            if name != "TuneNode":
                found.append((name, definitions[name]))
        elif "oneOf" in part and part is not section:
            found += _variants(part, definitions)
    return found


def _table(kind: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    required = kind.get("required", ())
    rows = ["| Setting | Takes | Meaning |", "|---|---|---|"]
    for name, leaf in kind["properties"].items():
        takes, default = _takes(leaf, definitions), leaf.get("default")
        optional = "" if name in required else f"; default `{_yaml(default)}`"
        rows.append(f"| `{name}` | {takes}{optional} | {_cell(leaf.get('description', ''))} |")
    return [*rows, ""]


def _takes(leaf: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the values of a setting in a few words."""
    if "const" in leaf:
        return f"`{leaf['const']}`"
    if "enum" in leaf:
        return ", ".join(f"`{_yaml(value)}`" for value in leaf["enum"])
    options = [part for part in (*leaf.get("anyOf", ()), *leaf.get("oneOf", ())) if not _is_tune(part)]
    if options:
        return " or ".join(dict.fromkeys(_takes(part, definitions) for part in options))
    if "$ref" in leaf:
        kind = definitions[leaf["$ref"].rsplit("/", 1)[1]]
        return f"mapping of {', '.join(f'`{name}`' for name in kind.get('properties', {}))}"
    words = {"number": "number", "integer": "integer", "boolean": "true or false", "null": "null", "string": "text"}
    kind = leaf.get("type")
    if kind == "array":
        return f"list of {_takes(leaf.get('items', {}), definitions)}"
    if kind == "object":
        return "mapping"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {leaf[key]:g}" for key, sign in bounds.items() if key in leaf]
    return " ".join([words.get(kind, "any value"), ", ".join(limits)]).strip()


def _is_tune(part: dict[str, Any]) -> bool:
    return part.get("$ref", "").endswith("/TuneNode")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _yaml(value: Any) -> str:
    if isinstance(value, list | dict | bool | None):
        return json.dumps(value)
    return value
