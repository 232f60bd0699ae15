"""The math commands that a label may have, with the Unicode text that shows each of them without LaTeX.

Only what LaTeX (with amsmath and amssymb) and matplotlib's mathtext both know is here, so a label that is accepted
compiles in a paper and can be drawn in a figure.
"""

from __future__ import annotations

import unicodedata

_GREEK = (
    *("alpha", "beta", "gamma", "delta", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi"),
    *("rho", "sigma", "tau", "upsilon", "chi", "psi", "omega"),
)
_GREEK_CAPITALS = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
_FUNCTIONS = (
    *("log", "ln", "exp", "max", "min", "arg", "sin", "cos", "tan", "tanh", "det", "dim", "inf", "sup", "lim", "Pr"),
)


def _letter(kind: str, name: str) -> str:
    # Unicode's name of the letter is LAMDA.
    return unicodedata.lookup(f"GREEK {kind} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


SYMBOLS: dict[str, str] = {
    **{name: _letter("SMALL", name) for name in _GREEK},
    **{name: _letter("CAPITAL", name) for name in _GREEK_CAPITALS},
    **{name: name for name in _FUNCTIONS},
    "epsilon": "ϵ", "varepsilon": "ε", "phi": "ϕ", "varphi": "φ", "vartheta": "ϑ", "varsigma": "ς", "ell": "ℓ",
    "times": "×", "cdot": "·", "pm": "±", "mp": "∓", "div": "÷", "ast": "∗", "circ": "∘", "oplus": "⊕", "odot": "⊙",
    "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "ll": "≪", "gg": "≫", "approx": "≈",
    "sim": "∼", "equiv": "≡", "propto": "∝", "in": "∈", "notin": "∉", "subset": "⊂", "cup": "∪", "cap": "∩",
    "infty": "∞", "partial": "∂", "nabla": "∇", "sum": "∑", "prod": "∏", "int": "∫", "forall": "∀", "exists": "∃",
    "to": "→", "rightarrow": "→", "leftarrow": "←", "uparrow": "↑", "downarrow": "↓", "Rightarrow": "⇒",
    "ldots": "…", "cdots": "⋯", "dots": "…", "prime": "′", "dagger": "†", "ddagger": "‡", "star": "⋆", "mid": "∣",
    "langle": "⟨", "rangle": "⟩", "neg": "¬", "emptyset": "∅", "parallel": "∥",
    "quad": " ", "qquad": "  ", ",": " ", ":": " ", ";": " ", " ": " ", "!": "",
    "_": "_", "%": "%", "#": "#", "$": "$", "{": "{", "}": "}", "|": "‖",
}  # fmt: skip
"""{command without its backslash: what it shows}."""
FONTS = ("mathrm", "mathbf", "mathit", "mathsf", "mathtt", "mathcal", "mathbb", "boldsymbol", "operatorname", "text")
"""Commands that set the font of one group; Unicode shows the group alone."""
ACCENTS: dict[str, str] = {
    "hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "vec": "\u20d7", "dot": "\u0307", "ddot": "\u0308",
    "overline": "\u0305",
}  # fmt: skip
"""{command over one group: the combining character behind each of its letters}."""
ARGUMENTS: dict[str, int] = {**dict.fromkeys(FONTS, 1), **dict.fromkeys(ACCENTS, 1), "sqrt": 1, "frac": 2}
"""{command: number of its groups}."""
SHORT = {"le": "leq", "ge": "geq", "ne": "neq"}
"""{command of LaTeX: the same under the name that mathtext has as well}."""
SPACED = frozenset("=<>+−×·±∓÷≤≥≠≪≫≈∼≡∝∈→←⇒")
"""Signs beside which a blank of the source is shown; LaTeX shows no other."""
SUBSCRIPTS = str.maketrans("0123456789+−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
SUPERSCRIPTS = str.maketrans("0123456789+−=()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾")
"""Only digits and signs: Unicode has no subscript for many letters, and a label with some of them reads badly."""
