"""A plugin of pytest that is loaded before all others (see the Makefile); nbval imports jsonschema."""

import sys

# Its check of IRIs, which nothing here uses, has every process compile a grammar for seconds.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
