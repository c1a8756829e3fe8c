"""Training of the shipped plate reader: pool of degraded crops, training, export, evaluation.

Run as `python -m training.ocr pool|train|export|evaluate`.
"""
