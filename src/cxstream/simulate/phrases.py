"""What customers write, from the angriest to the happiest; without quotes or backslashes."""

from __future__ import annotations

REVIEWS = (
    ("Broke after two days and nobody answers.", "Waste of money, I want it back.", "Never again."),
    ("Not what the pictures show.", "Took ages and the box was open.", "Disappointing."),
    ("It does what it should, no more.", "Fine for the price.", "All right."),
    ("Good, I would buy it again.", "Works well, quick delivery.", "Happy with it."),
    ("Exactly what I needed, great service.", "Excellent, the best so far.", "Love it."),
)
POSTS = (
    ("third call this week and still no answer, I am done", "where is my parcel? a week late, nobody helps"),
    ("the checkout crashed on me again", "long queue today, one till open"),
    ("new season is in the shop", "has anybody tried their new app?"),
    ("nice people at the service desk today", "sorted out in five minutes, thank you"),
    ("best shop in town, honestly", "they sent a replacement the same day, wow"),
)
