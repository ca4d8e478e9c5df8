"""Names of the seven facial expressions. No numpy: configs import it."""

EXPRESSIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_SPELLINGS = {
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "neutrality": "neutral",
}


def expression(word: str) -> int | None:
    """Number in EXPRESSIONS of a name in any usual spelling; None of another word.

    >>> expression("Happy"), expression("happiness"), expression("0_angry"), expression("awe")
    (3, 3, 0, None)
    """
    word = word.strip().lower().lstrip("0123456789").lstrip(" _-.")
    name = _SPELLINGS.get(word, word)
    return EXPRESSIONS.index(name) if name in EXPRESSIONS else None
