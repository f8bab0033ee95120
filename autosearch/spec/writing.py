"""Plain data as YAML 1.2 text that `reading` reads back unchanged."""

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from autosearch.spec.reading import resolve


def write_yaml(data: Mapping[str, Any]) -> str:
    """A mapping as block-style text; lists of scalars and small mappings inside lists stay readable."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_quoted(data), stream)
    return stream.getvalue()


def _quoted(data: Any) -> Any:
    """The data with those texts in quotes that would otherwise be read as something else."""
    if isinstance(data, Mapping):
        return {_quoted(key): _quoted(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_quoted(item) for item in data]
    if isinstance(data, str) and not isinstance(resolve(data), str):
        return DoubleQuotedScalarString(data)
    return data
