"""Nothing; what matters happens in setup.py."""
