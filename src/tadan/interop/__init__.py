"""Tadan's context models inside other frameworks."""
