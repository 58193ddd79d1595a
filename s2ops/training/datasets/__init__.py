"""Training data: pools of samples from the simulated world, labelled real scenes, and users' own images."""
