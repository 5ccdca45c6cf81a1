"""What ``metaopt inspect`` does: look, check the rules, write what was asked for."""

from collections.abc import Sequence
from pathlib import Path

from analysis.inspect.embeddings import Embedder
from analysis.inspect.inspection import inspect
from analysis.inspect.report import as_json, as_text, failures
from analysis.inspect.rules import check, metrics, parse_rules
from analysis.targets import SUFFIXES, check_target, write_text


def inspect_data(
    data: Path, against: Path | None, embedder: Embedder | None, fail_on: Sequence[str],
    json: Path | None, plot: Path | None,
) -> tuple[str, str]:  # fmt: skip
    """Inspect a data set; returns the report, and the rules that failed (empty: none).

    Raises ``UserError`` for a rule, a target or a data set that won't do, before any file is
    written.
    """
    rules = parse_rules(fail_on)
    for target, suffixes in ((json, (".json",)), (plot, SUFFIXES)):
        if target:
            check_target(target, suffixes)
    found = inspect(data, against, embedder)
    checked = check(rules, metrics(found), found.task)
    if json:
        write_text(json, as_json(found, checked))
    if plot:
        from analysis.inspect.figure import draw_inspection

        draw_inspection(found, plot)
    return as_text(found), failures(checked)
