"""From a configuration to results: settings, build, train, evaluate, report."""
