"""The id of the saved form of a state: a digest of everything that decides what its bytes mean.

It is computed from the types of the kernels, so nobody can forget to change it: a field that is moved, renamed, swapped
with another or of another size gives another id, and so does another limit of what is saved.
"""

from __future__ import annotations

import hashlib

from cxstream.kernels.layout import COMPLAINT, COMPLAINTS, CONTACTS, IDS, PANE, ROW, TOLD
from cxstream.kernels.pack import HEADER, VERSION
from cxstream.scoring.state import erasures, passed_over, seal
from cxstream.scoring.state.side import SIDES, form_of


def layout_id() -> str:
    """The id of the present layout: 16 hexadecimal digits."""
    form = (
        ("customer", VERSION, HEADER, form_of(ROW), form_of(PANE), form_of(TOLD), form_of(COMPLAINT)),
        ("limits", COMPLAINTS, CONTACTS, IDS),
        ("erasure", erasures.DIGEST_BYTES, erasures.TIME_BYTES),
        ("passed over", passed_over.OFFSET_BYTES, sorted(passed_over.PASSED_OVER)),
        ("trailer", seal.FORM),
        *((side.counted, side.prefixes, side.form) for side in SIDES),
    )
    return hashlib.blake2b(repr(form).encode(), digest_size=8).hexdigest()


LAYOUT_ID = layout_id()
