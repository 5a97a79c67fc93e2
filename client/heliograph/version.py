"""The version of Heliograph, without the cost of asking the package metadata for it."""

__version__ = "0.1.0"
"""Equal to `version` in pyproject.toml; a test compares them."""
