"""Okabe and Ito's colours, told apart by every kind of colour vision; figures and pages share them.

What differs in colour differs in lightness, marker, dash or pattern too.
"""

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, YELLOW, PURPLE = "#56B4E9", "#F0E442", "#CC79A7"
GREY, DARK, FAINT = "#8C8C8C", "#333333", "#E3E3E3"

# How a round ends (``analysis.failures.OUTCOMES``): what it is called, and its colour.
ENDS = {
    "accepted": ("accepted in the loop", ORANGE),
    "too_easy": ("too easy", SKY),
    "weak_zero": ("weak scored 0", PURPLE),
    "failed_on_strong": ("failed on strong", BLUE),
    "unsuitable": ("unsuitable", GREEN),
    "failed_quality_check": ("quality check", YELLOW),
    "invalid_item": ("invalid item", GREY),
    "unfinished": ("unfinished", "#FFFFFF"),
}
