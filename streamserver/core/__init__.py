"""What every process shares: errors, settings, states, files, logs and the wire forms. Imports nothing of ours."""
