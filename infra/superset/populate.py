"""Brings Superset's metadata to what `assets.py` has generated: schema, roles, datasets, charts, dashboards, row-level rules, embedding.

    python infra/superset/populate.py        in Superset's environment, with the variables that `server.py` gives

Doing it twice changes nothing. What it made earlier and is generated no longer goes; what people made stays.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Superset asks for its settings while it is imported and tells of each step of a migration.
logging.disable(logging.INFO)

import flask_migrate  # noqa: E402
import superset  # noqa: E402
from superset.app import create_app  # noqa: E402

FOLDER = Path(os.environ["GRIDLAKE_SUPERSET_FOLDER"])
PROVINCE_ROLE = "省级分析员"
# Of each city a role; a person with two of them sees both.
CITY_ROLE = "地市分析员-{name}"
# What a page in somebody else's page asks for on behalf of nobody.
_GUEST_MAY = (
    ("can_read", "Dashboard"), ("can_read", "Chart"), ("can_read", "Dataset"), ("can_dashboard", "Superset"), ("can_explore_json", "Superset"),
    ("can_slice", "Superset"), ("can_read", "EmbeddedDashboard"), ("can_language_pack", "Superset"), ("can_read", "CurrentUserRestApi"),
    ("can_write", "DashboardFilterStateRestApi"), ("can_read", "DashboardFilterStateRestApi"), ("can_time_range", "Api"),
    ("can_query_form_data", "Api"), ("can_query", "Api"), ("can_log", "Superset"),
)  # fmt: skip


def populate() -> dict[str, int]:
    """Everything, in one process: starting Superset once takes longer than all of it. Gives how many there are of each kind."""
    app = create_app()
    with app.app_context():
        flask_migrate.upgrade(directory=str(Path(superset.__file__).parent / "migrations"))
        from superset import appbuilder, security_manager

        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        admin = _admin()
        _import(admin)
        access = json.loads((FOLDER / "access.json").read_text(encoding="utf-8"))
        _remove_retired(access)
        _roles(access)
        _embedding(access)
        return _counts()


def _admin() -> Any:
    from superset import db, security_manager

    password = json.loads((FOLDER / "secrets.json").read_text(encoding="utf-8"))["admin_password"]
    role = security_manager.find_role("Admin")
    user = security_manager.find_user(username="admin")
    if user is None:
        user = security_manager.add_user("admin", "系统", "管理员", "admin@localhost", [role], password=password)
    db.session.commit()
    return user


def _import(admin: Any) -> None:
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.utils.core import override_user

    folder = FOLDER / "assets"
    contents = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.yaml"))}
    with override_user(admin):
        ImportAssetsCommand(contents).run()


def _remove_retired(access: Mapping[str, Any]) -> None:
    """An import never removes. Charts before datasets: they hang on them."""
    from superset import db
    from superset.connectors.sqla.models import SqlaTable
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    for kind, name in ((Dashboard, "dashboards"), (Slice, "charts"), (SqlaTable, "datasets")):
        wanted = {uuid.UUID(found) for found in access[name]}
        for asset in db.session.query(kind).filter_by(is_managed_externally=True).all():
            if asset.uuid not in wanted:
                db.session.delete(asset)
    db.session.commit()


def _roles(access: Mapping[str, Any]) -> None:
    """A role for the whole province, and one a city whose rows a rule chooses; a city's role reaches no dataset without such a rule."""
    from superset import db, security_manager
    from superset.connectors.sqla.models import RowLevelSecurityFilter, SqlaTable

    tables = {str(table.uuid): table for table in db.session.query(SqlaTable).all() if str(table.uuid) in access["datasets"]}
    scoped = [tables[found] for found, column in access["datasets"].items() if column]
    security_manager.add_permission_role(
        security_manager.find_role("Public"), security_manager.add_permission_view_menu("can_language_pack", "Superset")
    )
    _role(PROVINCE_ROLE, tables.values())
    wanted = set()
    for city in access["cities"]:
        name = CITY_ROLE.format(name=city["name"])
        wanted.add(name)
        rule = db.session.query(RowLevelSecurityFilter).filter_by(name=name).one_or_none() or RowLevelSecurityFilter(name=name)
        rule.description = f"只看{city['name']}"
        rule.filter_type, rule.group_key = "Regular", "city"
        rule.clause = access["clause"].format(code=city["code"])
        rule.roles, rule.tables = [_role(name, scoped)], scoped
        db.session.add(rule)
    guest = security_manager.add_role("嵌入访客") or security_manager.find_role("嵌入访客")
    guest.permissions = [found for found in (security_manager.find_permission_view_menu(*may) for may in _GUEST_MAY) if found]
    for rule in db.session.query(RowLevelSecurityFilter).filter(RowLevelSecurityFilter.name.startswith(CITY_ROLE.format(name=""))).all():
        if rule.name not in wanted:
            # The role stays and reaches nothing: somebody may still have it.
            for role in rule.roles:
                role.permissions = []
            db.session.delete(rule)
    db.session.commit()


def _role(name: str, datasets: Iterable[Any]) -> Any:
    from superset import security_manager

    role = security_manager.add_role(name) or security_manager.find_role(name)
    permissions = [*security_manager.find_role("Gamma").permissions]
    permissions += [security_manager.add_permission_view_menu("datasource_access", dataset.get_perm()) for dataset in datasets]
    role.permissions = list({permission.id: permission for permission in permissions if permission}.values())
    return role


def _embedding(access: Mapping[str, Any]) -> None:
    from superset import db
    from superset.models.dashboard import Dashboard
    from superset.models.embedded_dashboard import EmbeddedDashboard

    allowed = ",".join(os.environ.get("GRIDLAKE_SUPERSET_EMBEDDED_IN", "").split())
    for found, embedded in access["dashboards"].items():
        dashboard = db.session.query(Dashboard).filter_by(uuid=uuid.UUID(found)).one()
        entry = db.session.query(EmbeddedDashboard).filter_by(dashboard_id=dashboard.id).one_or_none()
        entry = entry or EmbeddedDashboard(dashboard_id=dashboard.id)
        entry.uuid, entry.allow_domain_list = uuid.UUID(embedded), allowed
        db.session.add(entry)
    db.session.commit()


def _counts() -> dict[str, int]:
    from superset import db
    from superset.connectors.sqla.models import RowLevelSecurityFilter, SqlaTable
    from superset.models.core import Database
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    kinds = {"databases": Database, "datasets": SqlaTable, "charts": Slice, "dashboards": Dashboard, "rules": RowLevelSecurityFilter}
    return {name: db.session.query(kind).count() for name, kind in kinds.items()}


if __name__ == "__main__":
    print(json.dumps(populate()))
