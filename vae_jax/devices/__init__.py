"""Where a run computes: meshes, processes, memory."""
