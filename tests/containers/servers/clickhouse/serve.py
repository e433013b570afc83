"""Serves ClickHouse with the configuration of /etc/clickhouse-server and the user that the variables name."""

import os
import shutil
from pathlib import Path

from deploy.local.clickhouse_server import serve

CONFIGURATION = Path("/etc/clickhouse-server")
DATA = Path("/var/lib/clickhouse")
USER = """<clickhouse><users>
    <default><networks replace="replace"><ip>127.0.0.1</ip></networks></default> <!-- who starts the server -->
    <{name}>
        <password from_env="CLICKHOUSE_PASSWORD"/>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
    </{name}>
</users></clickhouse>
"""

# The server looks for its configuration in its working directory, which is also that of its data.
shutil.copytree(CONFIGURATION, DATA, dirs_exist_ok=True)
if name := os.environ.get("CLICKHOUSE_USER"):
    (DATA / "users.d").mkdir(exist_ok=True)
    (DATA / "users.d/default-user.xml").write_text(USER.format(name=name), "utf-8")
os._exit(serve(DATA))
