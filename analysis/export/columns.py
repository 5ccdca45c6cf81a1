"""Column types, once for Arrow and once for a Hugging Face card, which must say the same.

A type is a name (``string``, ``bool``, ``int64``, ``float64``), ``[type]`` for a list, or
``{name: type}`` for a struct with exactly these keys.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from inner_agent.errors import UserError

Type = Any
Columns = Mapping[str, Type]


def load_pyarrow() -> Any:
    """The module.  Raises ``UserError`` that names the extra where it isn't installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "writing Parquet needs pyarrow: pip install 'metaopt[data]' (in a checkout, make setup"
            " EXTRAS=data), or give --format jsonl"
        ) from None
    return pyarrow


def arrow_schema(pa: Any, columns: Columns) -> Any:
    """A ``pyarrow.Schema``; ``pa`` is the module."""
    return pa.schema([(name, _arrow(pa, kind)) for name, kind in columns.items()])


def _arrow(pa: Any, kind: Type) -> Any:
    if isinstance(kind, list):
        return pa.list_(_arrow(pa, kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow(pa, inner)) for name, inner in kind.items()])
    return getattr(pa, "bool_" if kind == "bool" else kind)()


def card_features(columns: Columns) -> list[dict[str, Any]]:
    """``dataset_info.features`` of a card."""
    return [{"name": name, **_feature(kind)} for name, kind in columns.items()]


def _feature(kind: Type) -> dict[str, Any]:
    if isinstance(kind, dict):
        return {"struct": card_features(kind)}
    if isinstance(kind, list):
        inner = _feature(kind[0])
        return {"list": inner.get("dtype") or inner["struct"]}
    return {"dtype": kind}


def shown(kind: Type) -> str:
    """A type for people: ``list of {role, content}``."""
    if isinstance(kind, list):
        return f"list of {shown(kind[0])}"
    return "{" + ", ".join(kind) + "}" if isinstance(kind, dict) else str(kind)


def yaml(value: Mapping[str, Any] | Sequence[Any], indent: int = 0) -> str:
    """Mappings, lists and scalars as YAML; strings are quoted as JSON, which YAML can read."""
    pad = "  " * indent
    if isinstance(value, Mapping):
        return "".join(f"{pad}{key}:{_below(inner, indent)}" for key, inner in value.items())
    items = (yaml(v, indent + 1) if isinstance(v, Mapping) else f"{pad}  {_scalar(v)}\n"
             for v in value)  # fmt: skip
    return "".join(f"{pad}- {item[len(pad) + 2 :]}" for item in items)


def _below(value: Any, indent: int) -> str:
    if isinstance(value, Mapping | list):
        return f"\n{yaml(value, indent + 1)}"
    return f" {_scalar(value)}\n"


def _scalar(value: str | int | float) -> str:
    return json.dumps(value, ensure_ascii=False)
