"""The commands of `heliograph` that train, evaluate and export."""
