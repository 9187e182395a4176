"""Datasets, text, pictures, and scores."""
