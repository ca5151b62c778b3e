"""Which text models there are. Their weights travel in `cxstream.text`."""

from __future__ import annotations

# The model that this version writes into rules, and the digest of its weights. Rules of the log name what they were scored
# by, so a model that was released stays, and new weights or another reading of texts get a new name.
MODEL = "en-pl-1"
DIGESTS = {MODEL: "d45cdb42"}
TEXT_LANGUAGES = ("en", "pl")
