"""What a weight does, known before training: known losses, prospects of every weight, the forecast of a run, gains."""
