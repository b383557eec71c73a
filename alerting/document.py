"""Rule files as text: YAML that a person reads, with PromQL in block scalars."""

from pathlib import Path
from typing import Any

import yaml

# libyaml's loader is ten times faster, and the mutation gate reads thousands of files.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as block scalars, indents lists, and uses no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (PyYAML's signature)
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002  (PyYAML's signature)
        super().increase_indent(flow, indentless=False)


def _represent_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_string)


def write_yaml(path: Path, document: dict[str, Any], *, comment: str) -> None:
    """Write the document with a comment on its first line; keys keep their order."""
    path.write_text(f"# {comment}\n{dump_yaml(document)}", encoding="utf-8")


def dump_yaml(document: dict[str, Any]) -> str:
    """Return the document as YAML in the layout of every file here."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def read_yaml(path: Path) -> Any:
    """Return the document of a YAML file; raises ValueError naming the file when it is no YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except yaml.YAMLError as error:
        message = f"{path} is not valid YAML: {str(error).splitlines()[0]}"
        raise ValueError(message) from error
