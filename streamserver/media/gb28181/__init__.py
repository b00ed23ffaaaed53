"""GB/T 28181: our SIP user agent, which asks a platform for a camera's stream, and what takes and reads the stream."""
