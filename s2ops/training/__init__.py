"""Training of the networks: batches, augmentation, losses, distillation."""
