"""Running any program: flags, files, checkpoints, logs, locks, remote folders. Nothing here knows what a VAE is."""
