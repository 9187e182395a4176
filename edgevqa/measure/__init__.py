"""Measuring: protocols, statistics, host checks, records, and the bench that joins them."""
