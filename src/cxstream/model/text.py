"""Which text models there are. Their weights travel in `cxstream.text`."""

from __future__ import annotations

from typing import Literal

from cxstream.model.kinds import Kind

# The model that this version writes into rules, and the digest of its weights. Rules of the log name what they were scored
# by, so a model that was released stays, and new weights or another reading of texts get a new name.
MODEL = "en-pl-1"
DIGESTS = {MODEL: "d45cdb42"}
# Sets of rules that name no languages have these, also when a later model reads more.
TextLanguage = Literal["en", "pl"]
TEXT_LANGUAGES: tuple[TextLanguage, ...] = ("en", "pl")

READ = frozenset(
    {
        Kind.complaint_opened,
        Kind.complaint_resolved,
        Kind.contact,
        Kind.review,
        Kind.social_post,
        Kind.survey_ces,
        Kind.survey_csat,
        Kind.survey_nps,
    }
)
"""The kinds whose `text` is what a customer says about the company; a search is none."""
