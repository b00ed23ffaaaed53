"""``faiss``: says whose features a recognition has, by a table of known ones. Keys: docs/elements.md."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ConfigError
from streamserver.core.objects import Recognition
from streamserver.elements import _model
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.models.registry import read_labels

_INNER_PRODUCT, _COSINE = "inner_product", "cosine"


class FaissElement(Element):
    """Completes each recognition that has a feature with the most similar row's label, number and similarity."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._db_path = context.base_dir / _model.read_text(context, "db_path")
        self._label_path = context.base_dir / _model.read_text(context, "label_path")
        self._metric = _model.read_choice(context, "metric", (_INNER_PRODUCT, _COSINE), default=_INNER_PRODUCT)
        self._threshold = self._read_threshold()
        for key, path in (("db_path", self._db_path), ("label_path", self._label_path)):
            if not path.is_file():
                raise context.error(key, f"there is no file '{path}'")
        self._features: FloatArray = np.zeros((0, 0), dtype=np.float32)
        self._labels: tuple[str, ...] = ()

    def open(self) -> None:
        """Reads both files."""
        features = self._read_features(self._db_path)
        try:
            self._labels = read_labels(self._label_path)
        except ConfigError as e:
            raise self.context.error("label_path", e.message, cure=e.cure) from e
        if len(self._labels) != len(features):
            raise self.context.error(
                "label_path",
                f"'{self._label_path}' has {len(self._labels)} lines, '{self._db_path}' has {len(features)} rows",
                cure="write one label for each row, the same one several times for a person with several rows",
            )
        self._features = _unit_rows(features) if self._metric == _COSINE else features

    def process(self, frame: Frame, emit: Emit) -> None:
        """Looks up every feature of the frame or part."""
        if any(recognition.feature is not None for recognition in frame.recognitions):
            frame.recognitions = tuple(self._complete(recognition) for recognition in frame.recognitions)
        emit(frame)

    def close(self) -> None:
        """Lets the table go."""
        self._features = np.zeros((0, 0), dtype=np.float32)

    def _complete(self, recognition: Recognition) -> Recognition:
        feature = recognition.feature
        if feature is None or not np.isfinite(feature).all():
            return recognition
        if feature.size != self._features.shape[1]:
            raise self.context.error(
                "db_path",
                f"'{self._db_path}' has rows of {self._features.shape[1]} numbers, the features have {feature.size}",
                cure="make the table anew with the network that runs before this element; docs/elements.md says how",
            )
        query = np.asarray(feature, dtype=np.float32).reshape(1, -1)
        similarities = self._features @ (_unit_rows(query) if self._metric == _COSINE else query)[0]
        best = int(similarities.argmax())
        similarity = float(similarities[best])
        if self._threshold is not None and similarity < self._threshold:
            return recognition
        return dataclasses.replace(
            recognition,
            label=self._labels[best],
            class_ids=(*recognition.class_ids, best),
            scores=(*recognition.scores, similarity),
        )

    def _read_features(self, path: Path) -> FloatArray:
        """The table, float32 (n, d); ``numpy.loadtxt`` reads 20 million numbers a second and names a ragged row."""
        try:
            with path.open(encoding="utf-8-sig") as file:
                if not any(line.strip() for line in file):
                    raise self.context.error("db_path", f"'{path}' is empty", cure="write one row of numbers a face")
                file.seek(0)
                features = np.loadtxt(file, dtype=np.float32, ndmin=2, comments=None)
        except (OSError, ValueError) as e:
            cure = "write one row of numbers a line, separated by blanks"
            raise self.context.error("db_path", f"'{path}' cannot be read: {e}", cure=cure) from e
        rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(rows):
            raise self.context.error("db_path", f"'{path}': row {rows[0] + 1} holds something that is no number")
        return features

    def _read_threshold(self) -> float | None:
        value = self.context.configure.get("threshold")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.context.error("threshold", f"expected a number, got {value!r}")
        return float(value)


def _unit_rows(rows: FloatArray) -> FloatArray:
    """Rows (n, d) scaled to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: FloatArray = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    return scaled


ELEMENT = FaissElement
