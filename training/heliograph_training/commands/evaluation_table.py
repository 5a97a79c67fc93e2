"""An evaluation as tables for people or as one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from heliograph_training.evaluation import Evaluation

_WIDEST_CONFUSION = 20
"""Classes up to which the confusion matrix is drawn."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_evaluation(title: str, evaluation: Evaluation) -> None:
    """Print the figures per class, their averages, and the confusion matrix, to stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_footer=False)
    table.add_column("class")
    for column in ("precision", "recall", "F1", "images"):
        table.add_column(column, justify="right")
    rows = [(scores.class_name, scores, scores.support) for scores in evaluation.classes]
    for name, scores, support in rows:
        table.add_row(name, *_figures(scores.precision, scores.recall, scores.f1), str(support))
    table.add_section()
    for name, average in (("macro", evaluation.macro), ("weighted", evaluation.weighted)):
        table.add_row(
            f"{name} average",
            *_figures(average.precision, average.recall, average.f1),
            str(evaluation.examples),
        )
    console.print(table)
    if len(evaluation.classes) <= _WIDEST_CONFUSION:
        confusion = Table(
            title="true class (rows) and predicted class (columns)",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        confusion.add_column("")
        for scores in evaluation.classes:
            confusion.add_column(scores.class_name, justify="right", overflow="ellipsis")
        for scores, row in zip(evaluation.classes, evaluation.confusion, strict=True):
            confusion.add_row(scores.class_name, *(str(count) if count else "." for count in row))
        console.print(confusion)
    console.print(f"accuracy {evaluation.accuracy:.4f} on {evaluation.examples} test images")


def _figures(*values: float) -> list[str]:
    return [f"{value:.4f}" for value in values]
