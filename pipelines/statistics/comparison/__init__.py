"""Runs against each other: paired differences, variation between seeds, samples and cost that a result takes."""
