"""Superset's settings for gridlake: Chinese first, nothing from outside hosts, secrets from the file that the first start made.

Read by Superset, in Superset's own environment; `server.py` gives the variables.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import sealed_duckdb  # noqa: F401 - seals every DuckDB connection by being imported
from flask import Flask, Response, redirect, request, send_file
from superset.config import THEME_DEFAULT as _THEME
from superset.tasks.types import FixedExecutor

_FOLDER = Path(os.environ["GRIDLAKE_SUPERSET_FOLDER"])
_SECRETS = json.loads((_FOLDER / "secrets.json").read_text(encoding="utf-8"))
_ADDRESS = f"http://127.0.0.1:{os.environ['GRIDLAKE_SUPERSET_PORT']}"
_EMBEDDED_IN = os.environ.get("GRIDLAKE_SUPERSET_EMBEDDED_IN", "").split()
_COUNTER = "https://apachesuperset.gateway.scarf.sh/pixel/"
_DASHBOARD = re.compile(r"/superset/dashboard/([a-z_]+)/?")
_YEAR = 365 * 24 * 3600

SECRET_KEY = _SECRETS["secret_key"]
SQLALCHEMY_DATABASE_URI = os.environ["GRIDLAKE_SUPERSET_DATABASE"]

APP_NAME = "gridlake"
BABEL_DEFAULT_LOCALE = "zh"
LANGUAGES = {"zh": {"flag": "cn", "name": "简体中文"}, "en": {"flag": "us", "name": "English"}}
FAVICONS: list[dict[str, str]] = []
_TOKENS = {
    "brandAppName": APP_NAME,
    "brandLogoAlt": APP_NAME,
    "colorPrimary": "#1f5c99",
    "colorLink": "#1f5c99",
    "fontFamily": "'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', sans-serif",
}
THEME_DEFAULT = {**_THEME, "token": {**_THEME["token"], **_TOKENS}}
THEME_DARK = None

FEATURE_FLAGS = {
    "EMBEDDED_SUPERSET": True,
    "ALERT_REPORTS": True,
    "PLAYWRIGHT_REPORTS_AND_THUMBNAILS": True,
    # Whoever may write an expression of a chart must not read other tables by it: they have rules of their own.
    "ALLOW_ADHOC_SUBQUERY": False,
    "SQLLAB_BACKEND_PERSISTENCE": True,
}
RATELIMIT_ENABLED = False
# It names no outside host: whatever a page asks for elsewhere, its browser does not.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'", "data:", "blob:"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'", "data:"],
        "script-src": ["'self'", "'strict-dynamic'"],
        "frame-ancestors": ["'self'", *_EMBEDDED_IN],
    },
    "content_security_policy_nonce_in": ["script-src"],
    # It listens on loopback; whoever puts a gate with TLS before it lets the gate set these.
    "force_https": False,
    "session_cookie_secure": False,
    "frame_options": None,
}

GUEST_ROLE_NAME = "嵌入访客"
GUEST_TOKEN_JWT_SECRET = _SECRETS["guest_secret"]
GUEST_TOKEN_JWT_EXP_SECONDS = 600


def GUEST_TOKEN_VALIDATOR_HOOK(payload: dict[str, Any]) -> bool:  # noqa: N802 - the name is Superset's
    """A guest without a rule would see the whole province: such a token is not given."""
    return bool(payload.get("rls"))


def _cache(name: str, seconds: int, kind: str = "FileSystemCache") -> dict[str, Any]:
    return {"CACHE_TYPE": kind, "CACHE_DIR": str(_FOLDER / "cache" / name), "CACHE_DEFAULT_TIMEOUT": seconds, "CACHE_THRESHOLD": 5000}


CACHE_CONFIG = _cache("metadata", 300)
# A published snapshot does not change, and another one has other keys.
DATA_CACHE_CONFIG = _cache("data", _YEAR, "snapshot_cache.SnapshotCache")
FILTER_STATE_CACHE_CONFIG = _cache("filter_state", 90 * 24 * 3600)
EXPLORE_FORM_DATA_CACHE_CONFIG = _cache("form_data", 7 * 24 * 3600)


def FLASK_APP_MUTATOR(app: Flask) -> None:  # noqa: N802 - the name is Superset's
    """What the pre-built pages cannot be told by a setting: the outlines of our counties, no counter of visits, and which dashboard is for phones."""
    assets = Path(app.root_path) / "static" / "assets"
    # The map of a country draws the outlines that it was built with: where it asks for China's provinces it is given our counties.
    provinces = next(p.name for p in sorted(assets.glob("*.geojson")) if '"CN-ZJ"' in p.read_text(encoding="utf-8", errors="ignore"))
    counting = {p.name: text for p in sorted(assets.glob("*.js")) if _COUNTER in (text := p.read_text(encoding="utf-8", errors="ignore"))}
    silent = {name: text.replace(_COUNTER, "data:,") for name, text in counting.items()}

    @app.before_request
    def instead() -> Response | None:
        folder, _, name = request.path.rpartition("/")
        if folder == "/static/assets" and name == provinces:
            return send_file(_FOLDER / "map.geojson", mimetype="application/geo+json", max_age=0)
        if folder == "/static/assets" and name in silent:
            return Response(silent[name], mimetype="text/javascript", headers={"Cache-Control": f"public, max-age={_YEAR}"})
        found = _DASHBOARD.fullmatch(request.path) if "Mobile" in request.user_agent.string else None
        if found and (_FOLDER / "assets" / "dashboards" / f"{found[1]}-phone.yaml").exists():
            return redirect(f"/superset/dashboard/{found[1]}-phone/?standalone=1")
        return None


class CeleryConfig:
    """No broker: what Superset would hand to a worker runs where it is asked for."""

    broker_url = "memory://"
    task_always_eager = True


CELERY_CONFIG = CeleryConfig
RESULTS_BACKEND = None

# Pictures and PDF of dashboards, by the Chromium that the machine has.
ALERT_REPORTS_EXECUTORS = [FixedExecutor("admin")]
WEBDRIVER_BASEURL = WEBDRIVER_BASEURL_USER_FRIENDLY = f"{_ADDRESS}/"
WEBDRIVER_TYPE = "chrome"
WEBDRIVER_OPTION_ARGS = ["--no-sandbox", "--headless", "--disable-gpu", "--lang=zh-CN", "--disable-quic", "--no-first-run",
                         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
WEBDRIVER_WINDOW = {"dashboard": (1440, 1600), "slice": (1200, 800), "pixel_density": 1}
SCREENSHOT_LOAD_WAIT = 90
SMTP_HOST, _, _port = os.environ.get("GRIDLAKE_SUPERSET_SMTP", "127.0.0.1:25").partition(":")
SMTP_PORT = int(_port or 25)
SMTP_STARTTLS = SMTP_SSL = False
SMTP_USER, SMTP_PASSWORD = _SECRETS.get("smtp_user", ""), _SECRETS.get("smtp_password", "")
SMTP_MAIL_FROM = "gridlake@localhost"
EMAIL_REPORTS_SUBJECT_PREFIX = ""
EMAIL_REPORTS_CTA = "在浏览器中查看"
