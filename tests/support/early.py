"""A plugin of pytest that is loaded before all others (see the Makefile); nbval imports jsonschema."""

import sys

# Its check of IRIs, which nothing here uses, takes three seconds of every process to compile a grammar.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
