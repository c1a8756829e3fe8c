"""Tests of the in-car page."""
