"""Distillation: objectives, optimizer, reduction over workers, checkpoints, the loop."""
