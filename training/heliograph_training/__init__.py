"""Training: data sets, networks, fitting, evaluation, and export of any Keras model.

    from heliograph_training import LabelledImage, export

    export(model, classes=["cat", "dog"], recipe="decode(rgb) | resize(96, 96)",
           examples=[LabelledImage(data, "cat"), ...], repository="models", name="pets")

Importing this package imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from heliograph_training.attach import attach
from heliograph_training.export import ExportedVersion, export
from heliograph_training.golden_recording import LabelledImage

__all__ = ["ExportedVersion", "LabelledImage", "attach", "export"]
