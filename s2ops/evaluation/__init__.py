"""Evaluation of the networks: scorecard on real and simulated data, beside other methods."""
