"""What the networks learn from: the simulated world, real scenes, and labels that teachers give to them."""
