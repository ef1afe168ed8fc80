"""Texts that an exported model and its tokenizer are tried with before they count."""

SAMPLES = (
    "Rain.",
    "The committee will meet again on Thursday to settle the budget for the coming year.",
    "Où se trouve la bibliothèque, s'il vous plaît ? Elle ferme à 18 h 30.",
    "山の上に古い城がある。 Ελληνικά και русский текст, مرحبا.",
    "price: $4,999.00 (incl. 19 % VAT) &amp; shipping -- see  https://example.org/a?b=c#d",
    "A long text is cut where the model's window ends, and both sides have to agree on it. " * 60,
)
"""Short, long, far too long, other scripts, spaces and entities: what tokenizers differ in."""
