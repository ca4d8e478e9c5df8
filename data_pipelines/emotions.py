"""Emotions of EmoGator, in the order of their numbers. No numpy: configs import it."""

EMOTIONS = (
    *("Adoration", "Amusement", "Anger", "Awe", "Confusion", "Contempt", "Contentment", "Desire"),
    *("Disappointment", "Disgust", "Distress", "Ecstasy", "Elation", "Embarrassment", "Fear"),
    *("Guilt", "Interest", "Neutral", "Pain", "Pride", "Realization", "Relief", "Romantic Love"),
    *("Sadness", "Serenity", "Shame", "Surprise (Negative)", "Surprise (Positive)", "Sympathy"),
    "Triumph",
)
