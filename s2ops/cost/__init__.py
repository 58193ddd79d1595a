"""Cost estimate of a run: acquisition model, rates, prices, comparison with actual runs."""
