"""Licence-plate detector: network, training, ONNX export and evaluation.

Run as ``python -m training.detector train|export|evaluate --data DIR``.
"""
