"""One file a system: get_config(variants)."""
