"""Training: data sets, networks, fitting, evaluation, and export of any Keras model."""
