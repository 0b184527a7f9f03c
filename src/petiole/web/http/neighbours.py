"""Other extensions that stand before every route of an application, and don't know those of Petiole.

Called by way of the blueprint, at a request: whichever of them was set up first, theirs are looked at after that.
"""

from __future__ import annotations

import sys
from typing import Any

from flask import Blueprint, current_app


def stand_past_csrf(blueprint: Blueprint) -> None:
    """Have Flask-WTF's `CSRFProtect` let a blueprint's routes pass: they look at the origin of a request, and have no forms.

    For blueprints of which each route that changes something calls `refuse_foreign_origin`.
    """

    @blueprint.url_value_preprocessor
    def exempt(*_: object) -> None:
        protect: Any = current_app.extensions.get("csrf")
        if hasattr(protect, "exempt"):
            protect.exempt(blueprint)


def stand_past_limits(blueprint: Blueprint) -> None:
    """Have Flask-Limiter's default limits not count for a blueprint: a load balancer asks on, and so does a page.

    A limit that is given to the blueprint itself holds.
    """

    @blueprint.url_value_preprocessor
    def exempt(*_: object) -> None:
        found: Any = current_app.extensions.get("limiter")
        scopes: Any = getattr(sys.modules.get("flask_limiter"), "ExemptionScope", None)
        if scopes is not None and isinstance(found, set):
            for limiter in found:
                limiter.exempt(blueprint, flags=scopes.DEFAULT | scopes.APPLICATION)
