"""What stands behind ``plugin_api``, the one page that samples import."""
