"""A model that needs no TensorFlow, for every test that needs a repository with something in it.

Nothing beyond the base install is imported before a fixture is used: the SDK's tests run without.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np

    from heliograph.v1.contract_pb2 import ModelContract


class Brightness:
    """Tells dark images from bright ones: the score of `bright` is the mean of the pixels / 255."""

    name = "brightness"
    class_names = ("dark", "bright")
    recipe = "decode(grey) | resize(4, 4)"
    shape = (4, 4, 1)

    def contract(self) -> ModelContract:
        """A contract that is valid and fits; tests change what they are about."""
        from heliograph.v1.contract_pb2 import Dtype, InputSpec, ModelContract, OutputSpec

        return ModelContract(
            schema_major=1,
            model_name=self.name,
            class_names=self.class_names,
            input=InputSpec(
                signature="serving_default",
                tensor="image",
                kind=InputSpec.KIND_PIXELS_UINT8,
                dtype=Dtype.DTYPE_UINT8,
                shape=self.shape,
            ),
            recipe=self.recipe,
            recipe_version=1,
            output=OutputSpec(tensor="scores", activation=OutputSpec.ACTIVATION_NONE),
        )

    def compute(self, rows: np.ndarray) -> np.ndarray:
        """What the model computes: float32 [N, 2] from uint8 [N, 4, 4, 1]."""
        import numpy as np

        bright = rows.reshape(len(rows), -1).mean(axis=1) / 255
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)

    def image(
        self, level: int = 200, *, width: int = 8, height: int = 8, file_format: str = "PNG"
    ) -> bytes:
        """An image of one grey level, in 0 … 255."""
        from PIL import Image

        file = io.BytesIO()
        Image.new("L", (width, height), level).save(file, file_format)
        return file.getvalue()

    def publish(
        self,
        root: Path,
        *,
        name: str = name,
        contract: ModelContract | None = None,
        compute: Callable[[np.ndarray], np.ndarray] | None = None,
        spoil: Callable[[Path], None] | None = None,
    ) -> int:
        """Write the next version.

        Args:
            root: The repository.
            name: Name of the model.
            contract: Instead of the usual one.
            compute: What gives the golden probabilities, instead of the usual function.
            spoil: Changes files of the version before its manifest is written.

        Returns:
            Number of the version.
        """
        from heliograph.contract import write_contract
        from heliograph.golden import write_golden
        from heliograph.manifest import write_manifest
        from heliograph.repository import Repository

        contract = contract or self.contract()
        with Repository(root).publish(name) as staging:
            (staging.path / "saved_model.pb").write_bytes(b"stands for a graph")
            write_contract(staging.path, contract)
            write_golden(staging.path, self._golden(contract, compute or self.compute))
            if spoil:
                spoil(staging.path)
            write_manifest(staging.path)
        return staging.version

    def _golden(
        self, contract: ModelContract, compute: Callable[[np.ndarray], np.ndarray]
    ) -> list[GoldenExample]:
        import numpy as np

        from heliograph.golden import GoldenExample
        from heliograph.preprocessing import parse_recipe, pixels_sha256

        recipe = parse_recipe(contract.recipe)
        examples = []
        for number, level in enumerate((10, 90, 160, 240)):
            encoded = self.image(level)
            prepared = recipe.prepare(encoded)
            row = np.empty(1, object) if isinstance(prepared, bytes) else prepared[np.newaxis]
            if isinstance(prepared, bytes):
                row[0] = prepared
            examples.append(
                GoldenExample(
                    file=f"{number:03}.png",
                    encoded=encoded,
                    class_name=self.class_names[int(level > 127)],
                    pixels_sha256=pixels_sha256(prepared),
                    probabilities=tuple(compute(row)[0].tolist()),
                )
            )
        return examples


if TYPE_CHECKING:
    from heliograph.golden import GoldenExample


@pytest.fixture(scope="session")
def brightness() -> Brightness:
    """The model."""
    return Brightness()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty model repository."""
    path = tmp_path / "models"
    path.mkdir()
    return path
