"""TensorFlow Serving's gRPC API on the TensorFlow runtime from pip.

A source finds versions, aspires them to a manager, which loads them with loaders and keeps each
alive until its last request ends; servicers answer over the official `tensorflow-serving-api`
classes.
"""
