"""Measurements of the context models inside other frameworks."""
