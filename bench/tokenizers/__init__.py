"""Frozen image tokenizers: what is known of them (`spec`), the built-in ones (`builtin`), their
modules (`frozen`, `loading`), and how the embedded ones were trained and are judged."""
